"""`inv ci.check` runs the sessions of one part, against a registry of this machine."""

import sys
from collections.abc import Callable, Sequence

import pytest

from delivery import process
from delivery.errors import CommandError, DeclarationError, TestError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.tasks import checks


@pytest.fixture
def ran(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration
) -> list[tuple[list[str], dict[str, str]]]:
    """What was run, with which variables."""
    found: list[tuple[list[str], dict[str, str]]] = []

    def stream(
        argv: Sequence[str], *, doing: str, on_line: Callable[[str], None], options: process.Options
    ) -> None:
        found.append((list(argv), dict(options.env or {})))
        on_line(f"{doing}\n")

    monkeypatch.setattr(process, "stream", stream)
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    return found


@pytest.mark.parametrize("part", ["base-image", "apps", "platform-chart", "sample"])
def test_runs_the_sessions_of_the_part(
    ran: list[tuple[list[str], dict[str, str]]], part: str
) -> None:
    checks.check.body(None, part)
    assert ran == [
        ([sys.executable, "-m", "nox", "--tags", part], {"DELIVERY_REGISTRY": "localhost:5001"})
    ]


def test_leaves_a_registry_elsewhere_alone(
    ran: list[tuple[list[str], dict[str, str]]],
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        files, "load_declaration", lambda: declaration.with_registry("registry.example.com/acme")
    )
    checks.check.body(None, "apps")
    assert ran[0][1] == {"DELIVERY_REGISTRY": "localhost:5001"}


def test_an_unknown_part_is_an_error(ran: list[tuple[list[str], dict[str, str]]]) -> None:
    with pytest.raises(DeclarationError) as caught:
        checks.check.body.__wrapped__(None, "else")
    assert caught.value.message == "check else: there is no such part"
    assert caught.value.hint == "--of takes one of base-image, apps, platform-chart, sample"
    assert ran == []


def test_what_does_not_hold_ends_with_its_own_code(
    ran: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_keywords: object) -> None:
        raise CommandError("check apps: it exited with 1", argv=[], returncode=1, tail="")

    monkeypatch.setattr(process, "stream", fail)
    with pytest.raises(TestError) as caught:
        checks.check.body.__wrapped__(None, "apps")
    assert (caught.value.exit_code, ran) == (12, [])
