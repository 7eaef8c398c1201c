"""gitleaks: finds what looks like a secret, in files and in what git remembers of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from delivery import process
from delivery.errors import CommandError, ScanError
from delivery.project import git
from delivery.scan.findings import Finding, findings

__all__ = ["Gitleaks"]

_CONFIGURATION = "ops/gitleaks.toml"
_FOUND = 3  # its exit code for findings, by --exit-code; every fault has 1
_SECONDS = 3600
# Without -m git shows nothing that a merge brings by itself, without --text nothing of a file that
# .gitattributes calls binary.
_SHOWN = ("--full-history", "-m", "--text")
# What a user may have set up otherwise. In colours gitleaks finds nothing at all, and ends as if there were nothing.
_PLAIN = (
    *("--no-color", "--no-textconv", "--no-show-signature", "--pretty=medium", "--date=default"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--submodule=short"),
)
# gitleaks takes any word of git's on its standard error for a fault, advice too.
_SETTINGS = {"advice.graftFileDeprecated": "false", "log.showRoot": "true"}
_ENVIRONMENT = {"LC_ALL": "C", "GIT_GRAFT_FILE": os.devnull, "GIT_NO_REPLACE_OBJECTS": "1"}


class Gitleaks:
    """The program, for the clone in a folder. Its output and its report have no secret in them."""

    def __init__(self, program: str, root: Path) -> None:
        self._program = program
        self._root = root

    def files(self) -> tuple[int, list[Finding]]:
        """How many files git tracks, or would if it were told to, and what is in them as they are now."""
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            copy = Path(scratch) / "tree"
            count = _copy(self._root, git.files(self._root), copy)
            return count, self._detect(copy, "--no-git", doing="look for secrets in the files")

    def commits(self, *, everything: bool) -> list[Finding]:
        """What any commit brought that HEAD stands on, or any ref at all."""
        log = " ".join((*_SHOWN, *_PLAIN, "--all" if everything else "HEAD"))
        return self._detect(
            self._root, f"--log-opts={log}", doing="look for secrets in the commits"
        )

    def _detect(self, source: Path, *options: str, doing: str) -> list[Finding]:
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            report = Path(scratch) / "report.json"
            argv = [self._program, "detect", "--no-banner", "--redact", "--source", ".", *options]
            argv += [
                "--report-format",
                "json",
                "--report-path",
                str(report),
                "--exit-code",
                str(_FOUND),
            ]
            configuration = self._root / _CONFIGURATION
            if configuration.exists():
                argv += ["--config", str(configuration)]
            try:
                process.capture(
                    argv,
                    doing=doing,
                    options=process.Options(source, _environment()),
                    timeout=_SECONDS,
                )
            except CommandError as error:
                if error.returncode != _FOUND:
                    raise
            return findings(report.read_text(encoding="utf-8"))


def _copy(root: Path, names: Sequence[str], into: Path) -> int:
    """Copy these files; one that was removed meanwhile, a link and a repository within are left out."""
    count = 0
    into.mkdir()
    for name in names:
        source, target = root / name, into / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, target)
            except OSError as error:
                raise ScanError(
                    f"look for secrets: cannot read {name}: {error.strerror}",
                    hint="make it readable, or list it in .gitignore",
                ) from error
            count += 1
    return count


def _environment() -> dict[str, str]:
    """The variables by which git prints what gitleaks can read, whatever the user has set up."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    told = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(first + len(_SETTINGS))}
    for at, (name, value) in enumerate(_SETTINGS.items(), first):
        told |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
    return told
