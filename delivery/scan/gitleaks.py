"""gitleaks, the program that finds secrets in files and commits."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import CommandError, DeliveryError, ScanError
from delivery.project import git

__all__ = ["Finding", "Gitleaks"]

_CONFIGURATION = "ops/gitleaks.toml"
_FOUND = 3  # the exit code for findings, by --exit-code; errors have 1
_SECONDS = 3600
# Without -m git hides changes that only a merge makes, without --text files that .gitattributes
# calls binary.
_COMPLETE = ("--full-history", "-m", "--text")
# These undo settings of the user. With colours gitleaks finds nothing, and reports no error.
_PLAIN = (
    *("--no-color", "--no-textconv", "--no-show-signature", "--pretty=medium", "--date=default"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--submodule=short"),
)
# gitleaks fails when git prints anything on standard error, advice too.
_SETTINGS = {"advice.graftFileDeprecated": "false", "log.showRoot": "true"}
_ENVIRONMENT = {"LC_ALL": "C", "GIT_GRAFT_FILE": os.devnull, "GIT_NO_REPLACE_OBJECTS": "1"}


@dataclass(frozen=True, order=True)
class Finding:
    """Where something looks like a secret, without the secret itself."""

    commit: str  # "" for the working tree
    file: str
    line: int
    rule: str

    def row(self) -> tuple[str, str, str, str]:
        """The finding as a row of a table."""
        return self.commit[:12] or "working tree", self.file, str(self.line), self.rule


class Gitleaks:
    """gitleaks for the clone in a folder. Its output and its report contain no secrets."""

    def __init__(self, program: str, root: Path) -> None:
        self._program = program
        self._root = root

    def files(self) -> tuple[int, list[Finding]]:
        """The number of files that are not ignored, and the findings in them."""
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            copy = Path(scratch) / "tree"
            count = _copy(self._root, git.files(self._root), copy)
            return count, self._detect(copy, "--no-git", doing="look for secrets in the files")

    def commits(self, *, everything: bool) -> list[Finding]:
        """The findings in the commits of HEAD's history, or of every branch and tag."""
        log = " ".join((*_COMPLETE, *_PLAIN, "--all" if everything else "HEAD"))
        return self._detect(
            self._root, f"--log-opts={log}", doing="look for secrets in the commits"
        )

    def _detect(self, source: Path, *arguments: str, doing: str) -> list[Finding]:
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            report = Path(scratch) / "report.json"
            argv = [self._program, "detect", "--no-banner", "--redact", "--source", ".", *arguments]
            argv += ["--report-format", "json", "--report-path", str(report)]
            argv += ["--exit-code", str(_FOUND)]
            configuration = self._root / _CONFIGURATION
            if configuration.exists():
                argv += ["--config", str(configuration)]
            options = process.Options(source, _environment())
            try:
                process.capture(argv, doing=doing, options=options, timeout=_SECONDS)
            except CommandError as error:
                if error.returncode != _FOUND:
                    raise
            return _parse(report.read_text(encoding="utf-8"))


def _parse(report: str) -> list[Finding]:
    """The findings in a JSON report, sorted and without duplicates."""
    try:
        return sorted(
            {
                Finding(entry["Commit"], entry["File"], entry["StartLine"], entry["RuleID"])
                for entry in json.loads(report)
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeliveryError(
            f"cannot read the report of gitleaks: it is not of version 8: {error!r}",
            hint="set GITLEAKS to a gitleaks of version 8",
        ) from error


def _copy(root: Path, names: Sequence[str], target: Path) -> int:
    """Copy regular files, no links; return how many. A file that was removed is left out."""
    count = 0
    target.mkdir()
    for name in names:
        source, copy = root / name, target / name
        if source.is_file() and not source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, copy)
            except OSError as error:
                raise ScanError(
                    f"cannot look for secrets in {name}: {error.strerror}",
                    hint="make it readable, or list it in .gitignore",
                ) from error
            count += 1
    return count


def _environment() -> dict[str, str]:
    """The variables with which git prints what gitleaks can read, whatever the user's settings."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # after settings that the user passes
    variables = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(first + len(_SETTINGS))}
    for number, (name, value) in enumerate(_SETTINGS.items(), first):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
