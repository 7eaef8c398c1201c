"""`python -m ops.bench`: its options, and one line for an error."""

from pathlib import Path

import pytest

from ops.bench import __main__ as module
from ops.bench import delivery
from ops.bench.__main__ import FAILED, SECTIONS, TITLES, _measures, _parser, main
from ops.bench.stack import BenchError, Images, Stack


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["apo"], "no section 'apo'; sections are api, readers, worker, start"),
        (["--rounds", "0"], "--rounds: must be a whole number, 1 or more, not '0'"),
        (["--kafka-port", "²"], "--kafka-port: must be a whole number"),
        (["--access-log", "maybe"], "--access-log: invalid choice: 'maybe'"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
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
    refusal = "bench cannot find docker, wrk; on Debian: apt-get install docker-cli wrk\n"
    assert capsys.readouterr() == ("", refusal)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BenchError("do it: no room"), "bench cannot do it: no room"),
        (KeyboardInterrupt(), "bench was interrupted"),
    ],
)
def test_an_error_is_one_line(
    error: BaseException,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(_: Images) -> None:
        raise error

    monkeypatch.setattr(module, "need", lambda *_: None)
    monkeypatch.setattr(module, "build_twins", build)
    assert main(["api"]) == FAILED
    assert capsys.readouterr().err.splitlines()[-1].startswith(message)


def test_delivery_has_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        delivery, "main", lambda arguments: 7 if arguments == ["--rounds", "2"] else 0
    )
    assert main(["delivery", "--rounds", "2"]) == 7


def test_every_section_has_a_title_and_a_measurement() -> None:
    options = _parser().parse_args([])
    measures = _measures(Stack(Images.of({}), kafka_port=1, database_port=2), options)
    assert tuple(TITLES) == tuple(measures) == SECTIONS
