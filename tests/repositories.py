"""Real git repositories for tests: small, quick to make, and the same on every machine."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["Repository", "clone", "environment", "tree"]

_BEGAN = 1767225600  # commits are a minute apart, so that their order is theirs


def environment(**more: str) -> dict[str, str]:
    """An environment in which git knows nobody's settings, nor the clone whose hook runs these tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = {
        f"GIT_{role}_{what}": f"tester{at}"
        for role in ("AUTHOR", "COMMITTER")
        for what, at in (("NAME", ""), ("EMAIL", "@x"))
    }
    return {
        **kept,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
        **who,
        **more,
    }


def clone(source: Path, to: Path) -> None:
    """Clone a repository as a user does, with its files checked out."""
    argv = ["git", "clone", "--quiet", "--no-local", "--", str(source), str(to)]
    subprocess.run(argv, check=True, env=environment())


def tree(root: Path, revision: str = "HEAD") -> dict[str, str]:
    """The files of a commit: mode and object of each, by path."""
    argv = ["git", "ls-tree", "-r", "-z", "--full-tree", revision]
    printed = subprocess.run(
        argv, check=True, cwd=root, env=environment(), capture_output=True, text=True
    ).stdout
    lines = [line.partition("\t") for line in printed.split("\0") if line]
    return {path: entry for entry, _, path in lines}


class Repository:
    """A repository in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._commits = 0
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def copy(self, root: Path) -> Repository:
        """The same repository in another folder."""
        shutil.copytree(self.root, root, symlinks=True)
        made = copy.copy(self)
        made.root = root
        return made

    def git(self, *arguments: str, text: str | bytes | None = None, **more: str) -> str:
        """Run git there; its output without the last newline."""
        self._commits += 1
        date = f"{_BEGAN + 60 * self._commits} +0000"
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env=environment(GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date, **more),
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="replace").rstrip("\n")

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders that it is in."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self, message: str, *paths: str, **files: str) -> str:
        """Change these files somehow, or to what is told (`a__b` is a/b), and commit everything; the commit's SHA."""
        for path in paths:
            self.write(path, f"{self._commits}\n")
        for path, text in files.items():
            self.write(path.replace("__", "/"), text)
        self.git("add", "--all")
        self.git(
            "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--file=-", text=message
        )
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, start: str = "HEAD") -> None:
        """Make a branch and check it out."""
        self.git("checkout", "--quiet", "-b", name, start)

    def switch(self, name: str) -> None:
        """Check a branch, a tag or a commit out."""
        self.git("checkout", "--quiet", name)

    def merge(self, name: str) -> str:
        """Merge a branch, always with a commit; the commit's SHA."""
        self.git("merge", "--quiet", "--no-ff", "--no-edit", name)
        return self.git("rev-parse", "HEAD")

    def tag(self, *names: str) -> None:
        """Tag HEAD, with a message."""
        for name in names:
            self.git("tag", "--annotate", "--message", name, name)
