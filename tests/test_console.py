"""Output for people: steps, errors and tables."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from delivery import cache, console
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


class Ticks:
    """What shows the progress of the running step, called by the test instead of by a thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tick: Callable[[], None] = pytest.fail

    @contextmanager
    def ticking(self, seconds: float, tick: Callable[[], None]) -> Iterator[None]:
        self.seconds, self.tick = seconds, tick
        yield


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    made = Ticks()
    monkeypatch.setattr(console, "_ticking", made.ticking)
    return made


def test_progress_is_shown_again_and_again_until_a_step_ends() -> None:
    ticked, before = threading.Semaphore(0), threading.active_count()
    with console._ticking(0.001, ticked.release):
        assert all(ticked.acquire(timeout=10) for _ in range(2))
    assert threading.active_count() == before


def test_a_long_step_prints_its_progress_in_ci(
    capsys: pytest.CaptureFixture[str], ticks: Ticks
) -> None:
    with console.step("build") as step:
        step.line("#7 RUN apt-get update")
        step.line("\n")
        ticks.tick()
    assert ticks.seconds == 15
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


def test_a_diff_is_coloured_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.diff(["+a [b]", " c"])
    assert capsys.readouterr().out == "+a [b]\n c\n"
    monkeypatch.setattr(console, "out", Console(force_terminal=True, color_system="standard"))
    console.diff(["+a", "-b", "@@ c", " d"])
    assert capsys.readouterr().out == (
        "\x1b[32m+a\x1b[0m\n\x1b[31m-b\x1b[0m\n\x1b[36m@@ c\x1b[0m\n d\n"
    )


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
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=80, emoji=False))
    with console.step("read a:100:") as step:
        step.line("b:100:")
        ticks.tick()
    assert ticks.seconds == 0.25
    printed = capsys.readouterr().out
    assert "read a:100:" in printed
    assert "b:100:" in printed
    assert "\N{HUNDRED POINTS SYMBOL}" not in printed


def _took(title: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a step that takes so many seconds, by its clock."""
    with monkeypatch.context() as patch, console.step(title):
        began = time.monotonic()
        patch.setattr(time, "monotonic", lambda: began + seconds)


def test_a_log_says_how_long_a_step_still_takes_by_the_last_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    _took("build", 100, monkeypatch)
    _took("build", 0.5, monkeypatch)  # nothing to do: not how long a build takes
    with console.step("build"):
        ticks.tick()
    assert "… build, 0 s, about 100 s left: \n" in capsys.readouterr().out


def test_a_terminal_shows_a_bar_if_the_duration_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ticks: Ticks
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=120, emoji=False))
    for bars, left in ((False, ""), (True, ", about 100 s left")):
        with console.step("build"):
            ticks.tick()
        printed = capsys.readouterr().out
        assert ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" in printed) is bars
        assert f"0 s{left} " in printed
        _took("build", 100, monkeypatch)
        capsys.readouterr()


def test_a_cache_that_cannot_be_written_only_loses_the_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    _took("build", 100, monkeypatch)
    assert capsys.readouterr().out == "✓ build (100.0 s)\n"


@pytest.mark.parametrize("saved", ['{"build": "long"}', '{"build": null}', "[]", "{"])
def test_saved_durations_that_are_no_numbers_are_ignored(saved: str) -> None:
    (cache.folder() / console._DURATIONS).write_text(saved)
    assert console._durations() == {}


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
