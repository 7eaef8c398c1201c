"""Memory over a run: it is sampled until the end, and an error of that is no success."""

from __future__ import annotations

import threading

import pytest

from tests.ledger.usage import highest, sampling


def test_samples_are_taken_until_the_end() -> None:
    taken, sizes = threading.Event(), {"api": 1_000, "worker": None}

    def memory(service: str) -> int | None:
        taken.set()
        return sizes[service]

    with sampling(("api", "worker"), memory, every=0.001) as samples:
        assert taken.wait(30)
        sizes["worker"] = 2_000
    assert samples[0] == {"api": 1_000}, "a stopped container has no memory"
    assert samples[-1] == highest(samples) == {"api": 1_000, "worker": 2_000}


def test_an_error_of_the_sampler_fails_the_run() -> None:
    broken = threading.Event()

    def memory(_: str) -> int:
        broken.set()
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"), sampling(("api",), memory, every=0.001):
        assert broken.wait(30)
