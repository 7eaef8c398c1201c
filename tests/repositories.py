"""Small git repositories for tests, the same on every machine."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["Repository", "clone", "environment", "log", "tags", "tree"]

_BEGAN = 1767225600  # commits are a minute apart, which fixes their order


def environment(**more: str) -> dict[str, str]:
    """An environment without the user's git settings and the clone whose hook runs these tests."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "tester"), ("EMAIL", "tester@x"))
    }
    return {
        **others,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
        **person,
        **more,
    }


def clone(source: Path, to: Path) -> None:
    """Clone a repository as a user does, with its files checked out."""
    argv = ["git", "clone", "--quiet", "--no-local", "--", str(source), str(to)]
    subprocess.run(argv, check=True, env=environment())


def tree(root: Path, revision: str = "HEAD") -> dict[str, str]:
    """The files of a commit: mode and object of each, by path."""
    printed = _printed(root, "ls-tree", "-r", "-z", "--full-tree", revision)
    lines = [line.partition("\t") for line in printed.split("\0") if line]
    return {path: entry for entry, _, path in lines}


def log(root: Path, revision: str = "HEAD", *paths: str) -> list[str]:
    """The commits that touch these paths, without merges, as "author time subject"."""
    shape = ("-z", "--no-merges", "--full-history", "--format=%ae %at %s")
    return _printed(root, "log", *shape, revision, "--", *paths).split("\0")


def tags(root: Path, pattern: str = "*") -> list[str]:
    """The names of the tags that match a pattern."""
    return _printed(root, "tag", "--list", pattern).split()


def _printed(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        check=True,
        cwd=root,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout.removesuffix("\0")


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
        """Change these paths, write these files (a__b: a/b), commit all; return the SHA."""
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
        """Merge a branch with a merge commit; return its SHA."""
        self.git("merge", "--quiet", "--no-ff", "--no-edit", name)
        return self.git("rev-parse", "HEAD")

    def tag(self, *names: str) -> None:
        """Tag HEAD, with a message."""
        for name in names:
            self.git("tag", "--annotate", "--message", name, name)
