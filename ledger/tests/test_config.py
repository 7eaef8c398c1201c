from dataclasses import dataclass
from pathlib import Path

import pytest
from ledger.config import (
    FLAG,
    OPTIONAL_URL,
    TEXT,
    SettingsError,
    choice,
    integer,
    load,
    reference,
    setting,
)


@dataclass(frozen=True)
class Sample:
    name: str = setting(TEXT, "who")
    password: str = setting(TEXT, "the password", secret=True)
    port: int = setting(integer(1, 10), "a port", default="7")
    level: str = setting(choice("LOW", "HIGH"), "how much", default="LOW")


GOOD = {"NAME": "n", "PASSWORD": "p"}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(Sample, environ)
    return caught.value.problems


def test_values_come_from_the_environment_and_the_defaults() -> None:
    assert load(Sample, {**GOOD, "LEVEL": "high"}) == Sample("n", "p", 7, "HIGH")


def test_all_problems_are_reported_together() -> None:
    wrong = problems({"NAME": " ", "PORT": "11", "LEVEL": "middle"})
    assert [line.partition(":")[0] for line in wrong] == ["NAME", "PASSWORD", "PORT", "LEVEL"]


@pytest.mark.parametrize("value", ["0", "11", "-1", "1.5", "", "one", "\uff11"])
def test_a_number_out_of_range_is_a_problem(value: str) -> None:
    assert problems({**GOOD, "PORT": value}) == ["PORT: it must be a whole number from 1 to 10"]


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n", encoding="utf-8")
    assert load(Sample, {"NAME": "n", "PASSWORD_FILE": str(file)}).password == "from a file"


def test_only_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_text("n", encoding="utf-8")
    assert problems({"NAME_FILE": str(file), "PASSWORD": "p"}) == ["NAME: it is not set (who)"]


def test_a_secret_that_is_set_twice_is_a_problem(tmp_path: Path) -> None:
    wrong = problems({**GOOD, "PASSWORD": "hunter2", "PASSWORD_FILE": str(tmp_path)})
    assert wrong == ["PASSWORD: set either it or PASSWORD_FILE, not both"]


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "absent"
    assert problems({"NAME": "n", "PASSWORD_FILE": str(file)}) == [
        f"PASSWORD: cannot read {file} that PASSWORD_FILE names (No such file or directory)"
    ]


def test_a_missing_secret_names_both_ways_to_set_it() -> None:
    assert problems({"NAME": "n"}) == [
        "PASSWORD: it is not set, and neither is PASSWORD_FILE (the password)"
    ]


def test_the_reference_describes_every_setting() -> None:
    assert reference(Sample).splitlines() == [
        "- `NAME` (text; required): who",
        "- `PASSWORD` (text; required): the password (or in the file that `PASSWORD_FILE` names)",
        "- `PORT` (1 to 10; `7`): a port",
        "- `LEVEL` (LOW, HIGH; `LOW`): how much",
    ]


@pytest.mark.parametrize("value", ["", "http://h", "https://h:4318/a/b?c=d"])
def test_an_optional_url_may_be_empty(value: str) -> None:
    assert OPTIONAL_URL.parse(value) == value


@pytest.mark.parametrize(
    "value", ["h", "h:1", "ftp://h", "http://", "http://h:0", "http://h:65536", "http://[h"]
)
def test_a_wrong_url_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="like http://host:port/path"):
        OPTIONAL_URL.parse(value)


def test_a_flag_is_true_or_false() -> None:
    assert (FLAG.parse("True"), FLAG.parse("false")) == (True, False)
    with pytest.raises(ValueError, match="true or false"):
        FLAG.parse("yes")
