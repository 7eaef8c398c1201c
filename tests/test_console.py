"""Output for people: steps, errors and tables."""

import time

import pytest
from rich.console import Console

from delivery import console
from delivery.errors import DeliveryError, EngineError


def test_a_step_prints_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    with console.step("push app") as step:
        step.line("layer 1 of 9")
        step.done("sha256:12 [read back]")
    printed = capsys.readouterr().out
    assert printed.startswith("✓ push app: sha256:12 [read back] (")
    assert "layer" not in printed


def test_a_failed_step_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError), console.step("push app"):
        raise EngineError("no")
    assert capsys.readouterr().out.startswith("✗ push app (")


def test_a_long_step_prints_its_progress_in_ci(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0.01)
    with console.step("build") as step:
        step.line("#7 RUN apt-get update")
        step.line("\n")
        time.sleep(0.2)
    assert "… build, 0 s: #7 RUN apt-get update\n" in capsys.readouterr().out


def test_an_error_prints_details_message_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(
        DeliveryError(
            "cannot find an engine: none [answers]", hint="start one", details="line 1\nline 2"
        )
    )
    assert capsys.readouterr().err == (
        "  line 1\n  line 2\nerror: cannot find an engine: none [answers]\nhint: start one\n"
    )


def test_an_error_of_the_machine_names_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(EngineError("cannot use a Docker engine: none answers", hint="start it"))
    assert "\nhint: start it; `./run inv doctor` shows" in capsys.readouterr().err
    console.error(DeliveryError("cannot do it"))
    assert "doctor" not in capsys.readouterr().err


def test_a_code_of_an_emoji_is_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    text = "delivery.toml:100: a :bug:"
    with console.step(text) as step:
        step.done(text)
    console.say(text)
    console.table(text, [text], [[text]])
    console.error(EngineError(text, hint=text, details=text))
    printed = capsys.readouterr()
    assert (printed.out.count(text), printed.err.count(text)) == (6, 3)


def test_a_running_step_prints_the_code_of_an_emoji_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=80, emoji=False))
    monkeypatch.setattr(console, "_LIVE_SECONDS", 0.01)
    with console.step("read a:100:") as step:
        step.line("b:100:")
        time.sleep(0.3)
    printed = capsys.readouterr().out
    assert "read a:100:" in printed
    assert "b:100:" in printed
    assert "\N{HUNDRED POINTS SYMBOL}" not in printed


DIGEST = f"sha256:{'a' * 64}"


def test_a_piped_table_has_whole_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "localhost:5001/" + "x" * 300
    console.table("images", ["name", "image"], [[long, f"{long}@{DIGEST}"], ["[b]", "-"]])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "images"
    assert [line.split() for line in printed[1:]] == [
        ["name", "image"],
        [long, f"{long}@{DIGEST}"],
        ["[b]", "-"],
    ]


def test_a_terminal_shows_short_digests(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=80))
    console.table("images", ["image"], [[f"app@{DIGEST}"]])
    printed = capsys.readouterr().out
    assert "app@sha256:aaaaaaaaaaaa" in printed
    assert "a" * 13 not in printed


def test_a_line_of_a_log_stands_behind_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    console.log_line("api-rest", "[red]text[/]")
    assert capsys.readouterr().out == "api-rest     [red]text[/]\n"
