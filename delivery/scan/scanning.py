"""Look for secrets in files and commits."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from delivery import console
from delivery.host import programs
from delivery.project import files, git
from delivery.project.files import ROOT
from delivery.scan.findings import Finding
from delivery.scan.gitleaks import Gitleaks

__all__ = ["report", "secrets"]


def secrets(root: Path = ROOT, *, everything: bool = False) -> list[Finding]:
    """The secrets in the files and in the commits of this branch, or of every ref. Writes secrets.json."""
    gitleaks = Gitleaks(programs.ensure("gitleaks"), root)
    clone = git.load_clone(root)
    with console.step("secrets in the files") as step:
        count, found = gitleaks.files()
        step.done(f"{len(found) or 'none'} in {count} files")
    commits = len(git.history(clone, clone.ref_commits() if everything else ()))
    whose = "of every ref" if everything else f"of {clone.branch or clone.commit[:12]}"
    with console.step("secrets in the commits") as step:
        before = gitleaks.commits(everything=everything)
        step.done(f"{len(before) or 'none'} in {commits} commits {whose}")
    if clone.shallow_boundary:
        console.say(
            f"note: this clone is shallow; `{' '.join(git.DEEPEN)}` fetches the older commits, which were not looked at"
        )
    looked = {
        "files": count,
        "commits": commits,
        "of": whose.removeprefix("of "),
        "shallow": bool(clone.shallow_boundary),
    }
    found = sorted({*found, *before})
    report = {"commit": clone.commit, **looked, "findings": [asdict(finding) for finding in found]}
    _report(root).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return found


def report(root: Path = ROOT) -> str:
    """The report of the last scan."""
    return _report(root).read_text(encoding="utf-8")


def _report(root: Path) -> Path:
    return files.output("scan", "secrets.json", root=root)
