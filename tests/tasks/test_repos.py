"""The tasks hand on what they are told, and fail when a proof does."""

from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from delivery.errors import DeliveryError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.split import splitting
from delivery.split.splitting import Finding
from delivery.tasks import repos

GOOD = Finding("apps", "history", "9 commits", good=True)
BAD = Finding("apps", "links", "1 lead nowhere", good=False)


def test_a_relative_folder_is_below_where_one_stands(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path
) -> None:
    asked: list[tuple[Path, str]] = []

    def split(_declaration: Declaration, to: Path, only: str) -> list[Path]:
        asked.append((to, only))
        return [to / "apps"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(splitting, "split", split)
    repos.split.body.__wrapped__(Context(), to="there", only="apps")
    assert asked == [(tmp_path / "there", "apps")]


@pytest.mark.parametrize(("found", "fails"), [([GOOD], False), ([GOOD, BAD], True)])
def test_one_proof_that_fails_fails_it(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, found: list[Finding], *, fails: bool
) -> None:
    def check(_declaration: Declaration, to: Path | None, only: str, **told: Any) -> list[Finding]:  # noqa: ANN401
        assert (to, only, told) == (None, "apps", {"quick": True})
        return found

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(splitting, "check", check)
    if fails:
        with pytest.raises(DeliveryError, match=r"1 of 2 proofs failed \(apps: links\)"):
            repos.check.body.__wrapped__(Context(), only="apps", quick=True)
    else:
        repos.check.body.__wrapped__(Context(), only="apps", quick=True)
