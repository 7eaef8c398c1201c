"""`python -m bench`: what is wrong is told in a line, by an exit code of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as module
from bench import delivery
from bench.__main__ import FAILED, SECTIONS, _measures, _parser, _titles, main
from bench.stack import BenchError, Images, Stack
from delivery.project.files import ROOT


def test_the_command_line_refuses_nonsense_with_2() -> None:
    argv = [sys.executable, "-m", "bench", "--nonsense"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "unrecognized arguments: --nonsense" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["apo"], "there is no section 'apo'; there are api, readers, worker, start"),
        (["api", "workers"], "there is no section 'workers'"),
        (["--rounds", "0"], "--rounds: must be a whole number, 1 or more, not '0'"),
        (["--seconds", "-1"], "--seconds: must be a whole number, 1 or more, not '-1'"),
        (["--events", "many"], "--events: must be a whole number"),
        (["--starts", "1.5"], "--starts: must be a whole number"),
        (["--kafka-port", "²"], "--kafka-port: must be a whole number"),
        (["--access-log", "maybe"], "--access-log: invalid choice: 'maybe'"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_missing_programs_are_named_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WRK", raising=False)
    assert main([]) == FAILED
    said = capsys.readouterr()
    assert said.err == "bench cannot find docker, wrk; on Debian: apt-get install docker-cli wrk\n"
    assert said.out == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [(BenchError("do it: no room"), "bench cannot do it: no room"), (KeyboardInterrupt(), "bench was interrupted")],
)
def test_what_goes_wrong_ends_with_a_line(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(_: Images) -> None:
        raise error

    monkeypatch.setattr(module, "need", lambda *_: None)
    monkeypatch.setattr(module, "build_twins", build)
    assert main(["api"]) == FAILED
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)


def test_delivery_goes_by_itself_with_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def measure(arguments: list[str]) -> int:
        told.append(arguments)
        return 7

    monkeypatch.setattr(delivery, "main", measure)
    assert main(["delivery", "--rounds", "2"]) == 7
    assert told == [["--rounds", "2"]]


def test_every_section_has_a_title_and_a_measurement() -> None:
    options = _parser().parse_args([])
    measures = _measures(Stack(Images.of({}), kafka_port=1, database_port=2), options)
    assert tuple(_titles()) == tuple(measures) == SECTIONS
