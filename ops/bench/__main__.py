"""`python -m ops.bench` prints tables for docs/benchmarks.md."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from . import api, delivery, edits, readers, start, worker
from .http import first_200, wrk
from .stack import BenchError, Images, Stack, build_twins, need, stack

__all__ = ["main"]

TITLES = {
    "api": "api-rest beside FastAPI",
    "readers": "Recording beside readers",
    "worker": "async-worker beside faust-streaming and aiokafka",
    "start": "From `docker start` to the first answer",
}
SECTIONS = tuple(TITLES)
# They run alone: they need neither the stack nor the twins.
ALONE = {"delivery": delivery.main, "edits": edits.main}
FAILED = 1
WORKER_PORT = 8001


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the given sections and print the tables."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and (main_of := ALONE.get(arguments[0])):
        return main_of(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [section for section in options.section if section not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; sections are {', '.join(SECTIONS)}")
    if options.quick:
        options.seconds, options.rounds, options.events, options.starts = 1, 1, 2_000, 2
    images = Images.of(os.environ)
    ports = {"kafka_port": options.kafka_port, "database_port": options.database_port}
    try:
        need({"docker": "docker-cli", wrk(): "wrk"}, ("aiokafka", "pymysql"))
        _say("building the twins")
        build_twins(images)
        _say("starting Kafka and the database")
        with stack(images, **ports) as running:
            _prepare(running)
            for section in options.section or SECTIONS:
                _say(f"measuring {section}")
                table = _measures(running, options)[section]()
                print(f"\n## {TITLES[section]}\n\n{table}", flush=True)
    except BenchError as error:
        print(f"bench cannot {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench was interrupted; its containers are removed", file=sys.stderr)
        return FAILED
    return 0


def _prepare(running: Stack) -> None:
    """Start async-worker once: it makes the topics and the table, as in production."""
    with running.running(
        "prepare", running.images.async_worker, env={"GROUP_ID": "prepare"}
    ) as container:
        first_200(container.address, "/ready", port=WORKER_PORT)


def _measures(running: Stack, options: argparse.Namespace) -> dict[str, Callable[[], str]]:
    return {
        "api": lambda: api.measure(
            running,
            seconds=options.seconds,
            rounds=options.rounds,
            access_log=options.access_log == "on",
        ),
        "readers": lambda: readers.measure(running, seconds=options.seconds, rounds=options.rounds),
        "worker": lambda: worker.measure(running, count=options.events, rounds=options.rounds),
        "start": lambda: start.measure(running, times=options.starts),
    }


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure the apps beside their twins. API_REST_IMAGE, ASYNC_WORKER_IMAGE and"
        " BASE_IMAGE name the images. `bench delivery` measures `inv build push` beside its peers,"
        " `bench edits` an edit until it is served; they have options of their own.",
    )
    parser.add_argument(
        "section", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; none means all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of a minute; its figures mean nothing"
    )
    parser.add_argument("--seconds", type=_positive, default=8, help="how long each load lasts (8)")
    parser.add_argument(
        "--rounds", type=_positive, default=5, help="how many loads each side gets (5)"
    )
    parser.add_argument(
        "--events", type=_positive, default=100_000, help="how many events consumers store (100000)"
    )
    parser.add_argument(
        "--starts", type=_positive, default=10, help="how many times each container starts (10)"
    )
    parser.add_argument(
        "--access-log",
        choices=("on", "off"),
        default="on",
        help="a line for every request, on both sides",
    )
    parser.add_argument(
        "--kafka-port", type=_positive, default=29096, help="a free port of this machine (29096)"
    )
    parser.add_argument(
        "--database-port", type=_positive, default=33066, help="another one (33066)"
    )
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
