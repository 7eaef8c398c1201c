"""The memory of containers over a run: sampled into a CSV file, and summarised."""

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
# The first columns; each further column has the bytes of a container.
FIELDS = ("seconds", "accepted", "fault")


@dataclass(frozen=True)
class Sample:
    """The memory of the containers at a time of the run."""

    seconds: float
    # How many events were accepted.
    accepted: int
    # The services that were killed or frozen, for people.
    fault: str
    # Bytes by container, without stopped ones.
    memory: Mapping[str, int]


@contextmanager
def sampling(
    file: Path,
    services: Sequence[str],
    memory: Callable[[str], int | None],
    progress: Callable[[], tuple[int, str]],
    *,
    every: float = EVERY,
) -> Iterator[None]:
    """Append samples to the file while the body runs, and a last sample after it.

    `progress` returns how many events are accepted, and the fault.
    """
    started, stop = time.monotonic(), threading.Event()
    failures: list[Exception] = []
    with file.open("w", encoding="utf-8", newline="", buffering=1) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow((*FIELDS, *services))

        def sample() -> None:
            seconds = f"{time.monotonic() - started:.1f}"
            # The csv module writes None as an empty cell.
            writer.writerow((seconds, *progress(), *map(memory, services)))

        def keep_sampling() -> None:
            try:
                while not stop.wait(every):
                    sample()
                sample()
            except Exception as error:  # noqa: BLE001  raised again in the test's thread
                failures.append(error)

        thread = threading.Thread(target=keep_sampling, name="memory")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
    if failures:
        raise failures[0]


def read_samples(file: Path) -> list[Sample]:
    """The samples of a file."""
    with file.open(encoding="utf-8", newline="") as opened:
        return [
            Sample(
                float(row["seconds"]),
                int(row["accepted"]),
                row["fault"],
                {name: int(size) for name, size in row.items() if name not in FIELDS and size},
            )
            for row in csv.DictReader(opened)
        ]


def sizes(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The bytes of each container, in order."""
    services = dict.fromkeys(service for sample in samples for service in sample.memory)
    return {
        service: [sample.memory[service] for sample in samples if service in sample.memory]
        for service in services
    }


def highest(samples: Sequence[Sample]) -> dict[str, int]:
    """The most bytes of each container."""
    return {service: max(values) for service, values in sizes(samples).items()}


def describe(samples: Sequence[Sample]) -> list[str]:
    """A line for each container: least, median and most."""
    return [
        f"memory of {service}: {min(values) / MIB:.0f} MiB at least,"
        f" median {statistics.median(values) / MIB:.0f},"
        f" at most {max(values) / MIB:.0f}, in {len(values)} samples"
        for service, values in sorted(sizes(samples).items())
    ]
