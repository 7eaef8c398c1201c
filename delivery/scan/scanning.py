"""Look for secrets in files and commits, and write the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from delivery import console
from delivery.host import programs
from delivery.project import files, git
from delivery.project.files import ROOT
from delivery.scan.gitleaks import Finding, Gitleaks

__all__ = ["find_secrets", "report"]


def find_secrets(root: Path = ROOT, *, everything: bool = False) -> list[Finding]:
    """The secrets in the files, and in the commits of this branch or of every branch and tag.

    Writes the report.
    """
    gitleaks = Gitleaks(programs.ensure("gitleaks"), root)
    clone = git.load_clone(root)
    with console.step("secrets in the files") as step:
        count, in_files = gitleaks.files()
        step.done(f"{len(in_files) or 'none'} in {count} files")
    commits = len(git.history(clone, clone.ref_commits() if everything else ()))
    ref = "every ref" if everything else clone.branch or clone.commit[:12]
    with console.step("secrets in the commits") as step:
        in_commits = gitleaks.commits(everything=everything)
        step.done(f"{len(in_commits) or 'none'} in {commits} commits of {ref}")
    if clone.shallow_boundary:
        console.say(
            "note: this clone is shallow, and its older commits were not scanned; "
            f"`{' '.join(git.DEEPEN)}` fetches them"
        )
    findings = sorted({*in_files, *in_commits})
    document = {
        "commit": clone.commit,
        "files": count,
        "commits": commits,
        "of": ref,
        "shallow": bool(clone.shallow_boundary),
        "findings": [asdict(finding) for finding in findings],
    }
    _file(root).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return findings


def report(root: Path = ROOT) -> str:
    """The text of the last report."""
    return _file(root).read_text(encoding="utf-8")


def _file(root: Path) -> Path:
    return files.output("scan", "secrets.json", root=root)
