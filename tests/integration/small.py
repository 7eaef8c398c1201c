"""A small project for tests on an engine: three images of one file each, a chart, a history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.project import files
from tests.commands import output
from tests.conftest import FOREIGN

HERE = Path(__file__).parent
IMAGES = ("base-image", "api-rest", "async-worker")
DECLARATION = """
name = "small"
[registry]
address = "localhost:1"
[build]
epoch = 1767225600
[upstream.debian]
image = "{debian}"
recipe = "upstream/debian"
[upstream.registry]
image = "{registry}"
recipe = "upstream/registry"
[upstream.kind-node]
image = "kindest/node:none"
recipe = "upstream/kind-node"
[images.base-image]
context = "base-image"
base = "debian"
[images.api-rest]
context = "api-rest"
base = "base-image"
[images.async-worker]
context = "async-worker"
base = "base-image"
[chart]
folder = "platform-chart"
[subprojects.base-image]
folders = ["base-image"]
changelog = "base-image/CHANGELOG.md"
[subprojects.apps]
folders = ["api-rest", "async-worker"]
changelog = "api-rest/CHANGELOG.md"
after = ["base-image"]
[subprojects.platform-chart]
folders = ["platform-chart"]
changelog = "platform-chart/CHANGELOG.md"
after = ["apps"]
[gitflow]
develop = ["develop"]
candidate = ["release/*", "hotfix/*"]
release = ["main"]
[gitflow.deploys]
develop = "develop"
candidate = "staging"
release = "production"
[cluster]
node = "kind-node"
pods = "198.18.0.0/17"
services = "198.18.128.0/17"
workers = {{}}
"""
ENVIRONMENT = """
[environments.{name}]
contexts = ["{context}"]
namespace = "{namespace}"
values = "values-{name}.yaml"
confirm = {confirm}
"""
# With the first release prepared.
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- Everything.\n"


def source_folders() -> list[str]:
    """The folders of this project that its tasks and builds read."""
    images = files.load_declaration().images.values()
    contexts = dict.fromkeys(folder for image in images for folder in image.folders)
    return ["delivery", "ops/locks", "ops/upstream", *contexts]


@dataclass(frozen=True)
class Small:
    """The small project in a folder, with a registry."""

    folder: Path
    registry: str

    def inv(self, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run tasks; return the exit code and the output."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        done = subprocess.run(
            [sys.executable, "-m", "delivery", *arguments],
            cwd=self.folder,
            env={
                **inherited,
                "DELIVERY_REGISTRY": self.registry,
                "CI": "true",
                "PYTHONDONTWRITEBYTECODE": "",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    def succeed(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run tasks that succeed; return the output."""
        code, printed = self.inv(*arguments, environment=environment)
        assert code == 0, printed
        return printed

    def git(self, *arguments: str) -> str:
        """Run git in the project; return its output."""
        author = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
        return output(["git", *author, *arguments], folder=self.folder).strip()

    def commit(self, message: str, changes: Mapping[str, str] | None = None) -> None:
        """Write these files and commit everything."""
        for path, text in (changes or {}).items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def require_signatures(self, public_key: Path) -> None:
        """Declare and commit a public key, with which releases have to be signed."""
        declared = (self.folder / "delivery.toml").read_text()
        declared += '[signing]\npublic_key = "cosign.pub"\n'
        files = {"delivery.toml": declared, "cosign.pub": public_key.read_text()}
        self.commit("ci: sign", files)

    def released(self) -> dict[str, Any]:
        """The content of release.json."""
        return dict(json.loads((self.folder / ".delivery" / "release.json").read_text()))

    def clone(self, folder: Path) -> Small:
        """A new clone on the same branch."""
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return Small(folder, self.registry)

    def at(self, registry: str) -> Small:
        """The same project with another registry."""
        return Small(self.folder, registry)


def make(
    folder: Path, registry: str, environments: Mapping[str, tuple[str, str]] | None = None
) -> Small:
    """Make the project with one commit on develop; environments: name → (context, namespace)."""
    declared = files.load_declaration()
    # With bytecode, which tasks would compile otherwise.
    shutil.copytree(files.ROOT / "delivery", folder / "delivery")
    shutil.copytree(files.ROOT / "ops" / "locks", folder / "ops" / "locks")
    shutil.copy2(files.ROOT / "tasks.py", folder / "tasks.py")
    shutil.copytree(HERE / "chart", folder / "platform-chart")
    for name in IMAGES:
        (folder / name).mkdir()
        # Not based on Debian, as declared: each test would pack its layer again.
        base = "scratch" if name == "base-image" else "base-image"
        (folder / name / "Dockerfile").write_text(f"FROM {base}\nCOPY file /{name}\n")
        (folder / name / "file").write_text(name)
        (folder / name / "VERSION").write_text("0.1.0\n")
        (folder / name / "CHANGELOG.md").write_text(CHANGELOG)
        (folder / name / ".dockerignore").write_text("CHANGELOG.md\nVERSION\n")
    (folder / "platform-chart" / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / "platform-chart" / ".helmignore").write_text("CHANGELOG.md\n")
    # The real recipes: another recipe would replace the upstream images that others use.
    shutil.copytree(files.ROOT / "ops" / "upstream", folder / "upstream")
    upstream = {name: declared.upstream[name].image for name in ("debian", "registry")}
    targets = environments or dict.fromkeys(("develop", "staging", "production"), ("none", "none"))
    text = DECLARATION.format(**upstream)
    for name, (context, namespace) in targets.items():
        confirm = "true" if name == "production" else "false"
        text += ENVIRONMENT.format(name=name, context=context, namespace=namespace, confirm=confirm)
        (folder / f"values-{name}.yaml").write_text("{}\n")
    (folder / "delivery.toml").write_text(text)
    (folder / ".gitignore").write_text(".delivery/\n__pycache__/\n")
    project = Small(folder, registry)
    project.git("init", "--quiet", "--initial-branch=develop")
    project.commit("feat: everything")
    return project
