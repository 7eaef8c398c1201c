"""Questions at the terminal, and errors without one."""

from collections.abc import Mapping

import pytest

from delivery import prompt
from delivery.errors import DeclarationError


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Give these answers, then end the input; return the questions, which come later."""
    questions: list[str] = []
    left = iter(answers)

    def read(question: str) -> str:
        questions.append(question)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(prompt, "is_interactive", lambda: True)
    return questions


VERSIONS = {"current": "the sources", "1.2.0": "", "1.1.0": ""}


@pytest.mark.parametrize(
    ("options", "answers", "chosen"),
    [
        (VERSIONS, ["1.1.0"], "1.1.0"),
        (VERSIONS, [" 2 "], "1.2.0"),
        (VERSIONS, [""], "current"),
        (VERSIONS, ["0", "4", "nothing", "3"], "1.1.0"),
        # A name comes before a number.
        ({"2": "", "1": ""}, ["1"], "1"),
    ],
)
def test_an_option_is_chosen_by_its_name_or_its_number(
    monkeypatch: pytest.MonkeyPatch, options: Mapping[str, str], answers: list[str], chosen: str
) -> None:
    questions = answer(monkeypatch, *answers)
    assert prompt.choose("Which?", options, "current") == chosen
    assert questions == ["> "] * len(answers)


def test_options_are_shown_with_their_numbers_and_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "")
    prompt.choose("Which?", VERSIONS, "current")
    assert capsys.readouterr().out.splitlines() == [
        "Which?",
        "  1) current: the sources (Enter)",
        "  2) 1.2.0",
        "  3) 1.1.0",
    ]


def test_without_a_default_enter_asks_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "", "1")
    assert prompt.choose("Which?", {"staging": ""}) == "staging"
    assert "nothing is no option: enter a number from 1 to 1" in capsys.readouterr().out


def test_the_end_of_the_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    with pytest.raises(DeclarationError, match="the input has ended"):
        prompt.ask_yes_no("Remove it?")


@pytest.mark.parametrize(
    ("typed", "error"), [("staging", ""), ("Staging", "not confirmed"), ("", "not confirmed")]
)
def test_a_word_confirms(monkeypatch: pytest.MonkeyPatch, typed: str, error: str) -> None:
    questions = answer(monkeypatch, typed)
    if error:
        with pytest.raises(DeclarationError, match=f"cannot roll back: {error}"):
            prompt.confirm("roll back", "staging", yes=False)
    else:
        prompt.confirm("roll back", "staging", yes=False)
    assert questions == ["roll back? type staging to go on: "]


def test_without_a_terminal_only_yes_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = answer(monkeypatch)
    monkeypatch.setattr(prompt, "is_interactive", lambda: False)
    with pytest.raises(DeclarationError, match="no terminal to confirm it") as caught:
        prompt.confirm("roll back", "staging", yes=False, alternative=" or --dry-run")
    assert caught.value.hint == "pass --yes or --dry-run"
    prompt.confirm("roll back", "staging", yes=True)
    assert questions == []
