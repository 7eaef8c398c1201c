"""The journal: a file with all records of a pipeline, read by its later stages."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from delivery.machine import pipeline
from delivery.project import files
from delivery.project.files import ROOT
from delivery.records.events import Record

__all__ = ["append", "read"]


def read(root: Path = ROOT) -> list[Record]:
    """The records of this pipeline so far, in order; none for a run by hand."""
    if not (build := pipeline()):
        return []
    try:
        lines = _file(build, root).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    records: list[Record] = []
    for line in lines:
        with suppress(ValueError):  # a line of a process that was killed is incomplete
            records.append(Record.model_validate_json(line))
    return records


def append(records: Sequence[Record], root: Path = ROOT) -> None:
    """Add records of this pipeline; records of a run by hand are not kept."""
    if not records or not (build := pipeline()):
        return
    text = "".join(f"{record.model_dump_json(exclude_none=True)}\n" for record in records)
    # A single write, so that the lines of parallel stages do not mix.
    handle = os.open(_file(build, root), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def _file(build: str, root: Path) -> Path:
    """The journal of a build, named after its address."""
    address = build.rpartition("://")[2]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", address).strip("-")[-60:].strip("-")
    name = f"{readable or 'build'}-{hashlib.sha256(build.encode()).hexdigest()[:8]}.jsonl"
    return files.output("records", name, root=root)
