"""Memory over a run: what is sampled is read back, summed up and drawn."""

from __future__ import annotations

import itertools
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.ledger.usage import (
    MIB,
    Sample,
    chart,
    describe,
    highest,
    line_of,
    read_samples,
    sampling,
    struck_spans,
)

SVG = "{http://www.w3.org/2000/svg}"


def sample(seconds: float, struck: str = "", **held: int) -> Sample:
    return Sample(seconds, int(seconds) * 10, struck, {name: size * MIB for name, size in held.items()})


SAMPLES = [
    sample(1, worker=60, api=70),
    sample(2, "worker killed", api=80),
    sample(3, "kafka frozen", worker=50, api=75),
    sample(4, "kafka frozen", worker=90, api=76),
    sample(5, worker=61, api=77),
]


def test_samples_are_taken_until_the_end_and_read_back(tmp_path: Path) -> None:
    looks, enough = itertools.count(1), threading.Event()
    sizes = {"api": 1_000, "worker": None}

    def progress() -> tuple[int, str]:
        number = next(looks)
        if number == 3:
            enough.set()
        return number, "kafka frozen" if number == 2 else ""

    with sampling(tmp_path / "memory.csv", ("api", "worker"), sizes.get, progress, every=0.001):
        assert enough.wait(30)
        sizes["worker"] = 2_000
    samples = read_samples(tmp_path / "memory.csv")
    assert [one.accepted for one in samples] == list(range(1, len(samples) + 1))
    assert samples[0].held == {"api": 1_000}, "what does not run holds nothing"
    assert samples[1].struck == "kafka frozen"
    assert samples[-1].held == {"api": 1_000, "worker": 2_000}, "the end is missed"


def test_a_sampler_that_breaks_is_no_quiet_end(tmp_path: Path) -> None:
    broken = threading.Event()

    def held(_: str) -> int:
        broken.set()
        raise RuntimeError("a bug")

    with (
        pytest.raises(RuntimeError, match="a bug"),
        sampling(tmp_path / "memory.csv", ("api",), held, lambda: (0, ""), every=0.001),
    ):
        assert broken.wait(30)


def test_the_most_of_each_container_is_known() -> None:
    assert highest(SAMPLES) == {"worker": 90 * MIB, "api": 80 * MIB}
    assert highest([]) == {}


def test_a_container_is_described_by_its_least_median_and_most() -> None:
    assert describe(SAMPLES) == [
        "memory of api: 70 MiB at least, median 76, at most 80, in 5 samples",
        "memory of worker: 50 MiB at least, median 60, at most 90, in 4 samples",
    ]


def test_a_strike_that_lasts_is_one_span() -> None:
    assert struck_spans(SAMPLES) == [(2, 2, "worker killed"), (3, 4, "kafka frozen")]


def test_a_line_breaks_where_its_container_did_not_run() -> None:
    assert [(at, joined) for at, _, joined in line_of(SAMPLES, "worker")] == [
        (1, False),
        (3, False),
        (4, True),
        (5, True),
    ]


def test_the_chart_has_a_line_for_each_container_and_a_band_for_each_strike() -> None:
    root = ET.fromstring(chart(SAMPLES, "Memory <of> the apps"))  # noqa: S314  our own
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"Memory <of> the apps", "worker", "api", "0", "50", "100 MiB", "5 s, 50 events"} <= set(texts)
    assert [element.text for element in root.iter(f"{SVG}title")] == [
        "worker killed",
        "kafka frozen",
    ]
    lines = [element for element in root.iter(f"{SVG}path") if element.get("fill") == "none"]
    assert [str(line.get("d")).count("M") for line in lines] == [2, 1]


def test_a_run_without_samples_is_drawn_too() -> None:
    ET.fromstring(chart([], "nothing"))  # noqa: S314  our own
