"""The memory of the apps over a run: sampled into a CSV file, summed up, and drawn.

`python -m tests.ledger.usage memory.csv > memory.svg` draws what a storm has left in its folder.
"""

from __future__ import annotations

import csv
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

__all__ = ["Sample", "chart", "describe", "highest", "read_samples", "sampling"]

EVERY = 1.0
MIB = 1024 * 1024
# What a sample says of the run; every other column is a container's bytes.
FIELDS = ("seconds", "accepted", "struck")

# The chart, in pixels: its whole, and what stays free for the scales.
WIDTH, HEIGHT, MARGIN = 960, 360, 60
COLOURS = ("#1f77b4", "#5fa8d3", "#d95f02", "#f0a35e", "#2a9d8f", "#8d6cab")
SCALE = 50


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
    return {service: [sample.held[service] for sample in samples if service in sample.held] for service in services}


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


@dataclass(frozen=True)
class _Frame:
    """Where seconds and MiB are on the chart."""

    end: float
    top: int

    def x(self, seconds: float) -> float:
        return MARGIN + seconds * (WIDTH - 2 * MARGIN) / self.end

    def y(self, mebibytes: float) -> float:
        return HEIGHT - MARGIN - mebibytes * (HEIGHT - 2 * MARGIN) / self.top


def chart(samples: Sequence[Sample], title: str) -> str:
    """Draw the samples as SVG: a line for each container, a band wherever something was struck."""
    end = max([sample.seconds for sample in samples], default=0.0) or 1.0
    frame = _Frame(end, SCALE * (max([*highest(samples).values(), 0]) // (SCALE * MIB) + 1))
    events = max([sample.accepted for sample in samples], default=0)
    fonts = 'font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {fonts}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(MARGIN, 18, title),
        *_bands(samples, frame),
        *_scale(frame),
        *_lines(samples, frame),
        _text(MARGIN, HEIGHT - MARGIN + 16, "0 s"),
        _text(WIDTH - MARGIN, HEIGHT - MARGIN + 16, f"{end:.0f} s, {events} events", anchor="end"),
        _text(MARGIN, HEIGHT - 10, "grey: killed, red: frozen"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#000") -> str:
    style = f'text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _bands(samples: Sequence[Sample], frame: _Frame) -> Iterator[str]:
    for left, right, words in struck_spans(samples):
        width = max(1.0, frame.x(right) - frame.x(left))
        colour = "#f4c7c3" if "frozen" in words else "#e4e4e4"
        yield (
            f'<rect x="{frame.x(left):.1f}" y="{MARGIN}" width="{width:.1f}"'
            f' height="{HEIGHT - 2 * MARGIN}" fill="{colour}"><title>{escape(words)}</title></rect>'
        )


def _scale(frame: _Frame) -> Iterator[str]:
    for mark in range(0, frame.top + 1, SCALE):
        y = frame.y(mark)
        yield f'<path d="M{MARGIN} {y:.1f}H{WIDTH - MARGIN}" stroke="#bbb" stroke-width="0.5"/>'
        words = f"{mark} MiB" if mark == frame.top else str(mark)
        yield _text(MARGIN - 6, y, words, anchor="end")


def _lines(samples: Sequence[Sample], frame: _Frame) -> Iterator[str]:
    for number, service in enumerate(sizes(samples)):
        colour = COLOURS[number % len(COLOURS)]
        path = "".join(
            f"{'L' if joined else 'M'}{frame.x(at):.1f} {frame.y(held / MIB):.1f}"
            for at, held, joined in line_of(samples, service)
        )
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        yield _text(MARGIN + 150 * number, 36, service, colour=colour)


def struck_spans(samples: Sequence[Sample]) -> list[tuple[float, float, str]]:
    """From when to when what was struck, as the samples saw it."""
    spans: list[tuple[float, float, str]] = []
    before = Sample(0.0, 0, "", {})
    for sample in samples:
        if sample.struck and sample.struck == before.struck:
            left, _, words = spans.pop()
            spans.append((left, sample.seconds, words))
        elif sample.struck:
            spans.append((sample.seconds, sample.seconds, sample.struck))
        before = sample
    return spans


def line_of(samples: Sequence[Sample], service: str) -> list[tuple[float, int, bool]]:
    """Each (seconds, bytes) of a container, and whether it ran at the sample before, too."""
    points: list[tuple[float, int, bool]] = []
    joined = False
    for sample in samples:
        if service in sample.held:
            points.append((sample.seconds, sample.held[service], joined))
        joined = service in sample.held
    return points


if __name__ == "__main__":
    sys.stdout.write(chart(read_samples(Path(sys.argv[1])), "Memory of the apps under kills and freezes"))
