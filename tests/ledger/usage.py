"""The memory of the apps over a run: sampled into a CSV file, and summed up."""

from __future__ import annotations

import csv
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sample", "describe", "highest", "read_samples", "sampling"]

EVERY = 1.0
MIB = 1024 * 1024
# What a sample says of the run; every other column is a container's bytes.
FIELDS = ("seconds", "accepted", "struck")


@dataclass(frozen=True)
class Sample:
    """How much the containers held at a time of the run.

    struck: what was killed or frozen then, as words. held: bytes by container, without those that
    did not run.
    """

    seconds: float
    accepted: int
    struck: str
    held: Mapping[str, int]


@contextmanager
def sampling(
    file: Path,
    services: Sequence[str],
    held: Callable[[str], int | None],
    progress: Callable[[], tuple[int, str]],
    *,
    every: float = EVERY,
) -> Iterator[None]:
    """Append a sample to the file every so often while the body runs, and one at the end.

    progress says how many events are accepted, and what is struck.
    """
    started, stop = time.monotonic(), threading.Event()
    failures: list[Exception] = []
    with file.open("w", encoding="utf-8", newline="", buffering=1) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow((*FIELDS, *services))

        def look() -> None:
            accepted, struck = progress()
            sizes = ["" if (size := held(service)) is None else size for service in services]
            writer.writerow((f"{time.monotonic() - started:.1f}", accepted, struck, *sizes))

        def keep_looking() -> None:
            try:
                while not stop.wait(every):
                    look()
                look()
            except Exception as error:  # noqa: BLE001  raised again where the run ends
                failures.append(error)

        thread = threading.Thread(target=keep_looking, name="memory")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
    if failures:
        raise failures[0]


def read_samples(file: Path) -> list[Sample]:
    """Read samples back."""
    with file.open(encoding="utf-8", newline="") as opened:
        return [
            Sample(
                float(row["seconds"]),
                int(row["accepted"]),
                row["struck"],
                {name: int(size) for name, size in row.items() if name not in FIELDS and size},
            )
            for row in csv.DictReader(opened)
        ]


def sizes(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """What each container held, in order."""
    services = dict.fromkeys(service for sample in samples for service in sample.held)
    return {
        service: [sample.held[service] for sample in samples if service in sample.held]
        for service in services
    }


def highest(samples: Sequence[Sample]) -> dict[str, int]:
    """The most that each container held, in bytes."""
    return {service: max(held) for service, held in sizes(samples).items()}


def describe(samples: Sequence[Sample]) -> list[str]:
    """A line for each container: least, median and most."""
    return [
        f"memory of {service}: {min(held) / MIB:.0f} MiB at least, median {statistics.median(held) / MIB:.0f},"
        f" at most {max(held) / MIB:.0f}, in {len(held)} samples"
        for service, held in sorted(sizes(samples).items())
    ]
