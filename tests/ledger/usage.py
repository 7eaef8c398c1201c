"""The memory of containers over a run: sampled, and summarised."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["MIB", "Sample", "describe", "highest", "sampling"]

EVERY = 1.0
MIB = 1024 * 1024
# Bytes by container, without stopped ones.
Sample = Mapping[str, int]


@contextmanager
def sampling(
    services: Sequence[str], memory: Callable[[str], int | None], *, every: float = EVERY
) -> Iterator[list[Sample]]:
    """The samples, which are taken while the body runs and once after it."""
    samples, stop = list[Sample](), threading.Event()

    def sample() -> None:
        sizes = {service: memory(service) for service in services}
        samples.append({service: size for service, size in sizes.items() if size})

    def keep_sampling() -> None:
        while not stop.wait(every):
            sample()
        sample()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(keep_sampling)
        try:
            yield samples
        finally:
            stop.set()
        done.result()


def sizes(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The bytes of each container, in order."""
    services = dict.fromkeys(service for sample in samples for service in sample)
    return {
        service: [sample[service] for sample in samples if service in sample]
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
