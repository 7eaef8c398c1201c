"""Memory over a run: samples are read back and summarised."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from tests.ledger.usage import MIB, Sample, describe, read_samples, sampling


def sample(seconds: float, fault: str = "", **mib: int) -> Sample:
    memory = {name: size * MIB for name, size in mib.items()}
    return Sample(seconds, int(seconds) * 10, fault, memory)


SAMPLES = [
    sample(1, worker=60, api=70),
    sample(2, "worker killed", api=80),
    sample(3, "kafka frozen", worker=50, api=75),
    sample(4, "kafka frozen", worker=90, api=76),
    sample(5, worker=61, api=77),
]


def test_samples_are_taken_until_the_end_and_read_back(tmp_path: Path) -> None:
    calls, enough = itertools.count(1), threading.Event()
    sizes = {"api": 1_000, "worker": None}

    def progress() -> tuple[int, str]:
        number = next(calls)
        if number == 3:
            enough.set()
        return number, "kafka frozen" if number == 2 else ""

    with sampling(tmp_path / "memory.csv", ("api", "worker"), sizes.get, progress, every=0.001):
        assert enough.wait(30)
        sizes["worker"] = 2_000
    samples = read_samples(tmp_path / "memory.csv")
    assert [sample.accepted for sample in samples] == list(range(1, len(samples) + 1))
    assert samples[0].memory == {"api": 1_000}, "a stopped container has no memory"
    assert samples[1].fault == "kafka frozen"
    assert samples[-1].memory == {"api": 1_000, "worker": 2_000}, "the last sample is missing"


def test_an_error_of_the_sampler_fails_the_run(tmp_path: Path) -> None:
    broken = threading.Event()

    def memory(_: str) -> int:
        broken.set()
        raise RuntimeError("a bug")

    with (
        pytest.raises(RuntimeError, match="a bug"),
        sampling(tmp_path / "memory.csv", ("api",), memory, lambda: (0, ""), every=0.001),
    ):
        assert broken.wait(30)


def test_a_container_is_described_by_its_least_median_and_most() -> None:
    assert describe(SAMPLES) == [
        "memory of api: 70 MiB at least, median 76, at most 80, in 5 samples",
        "memory of worker: 50 MiB at least, median 60, at most 90, in 4 samples",
    ]
