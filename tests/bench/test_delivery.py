"""`bench delivery`: its commands, the steps that it reads, and the tables."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from delivery.project.files import ROOT
from ops.bench import delivery as module
from ops.bench.delivery import (
    HEAD,
    IMAGES,
    OURS,
    Run,
    Sources,
    contenders,
    steps,
    table,
)
from ops.bench.relay import Relay, Traffic
from ops.bench.stack import BenchError
from tests import yaml_strict

PRINTED = """
✓ engine: private Docker 26.1.5+dfsg1 at unix:///engine/docker.sock (a socket) (0.3 s)
  … build api-rest, 15 s: #39 exporting layers 0.0s done
✓ build api-rest: in one graph (10.5 s)
✓ engine: private Docker 26.1.5+dfsg1 (0.2 s)
✓ sign (1.0 s)
✗ push api-rest (3.0 s)
sign: DELIVERY_SIGNING_KEY is not set, so nothing is signed
"""


def test_steps_are_read_from_the_tasks_output() -> None:
    assert steps(PRINTED) == {"engine": 0.5, "build api-rest": 10.5, "sign": 1.0}


def test_ratios_compare_medians_with_ours() -> None:
    few = Traffic(Counter({"HEAD manifest": 12}), sent=4_100, received=6_000)
    many = Traffic(Counter({"HEAD manifest": 40}), sent=20_000, received=32_949)
    runs = {
        OURS: [Run(seconds, few) for seconds in (1.0, 9.0, 2.0)],
        "bake": [Run(seconds, many) for seconds in (2.0, 18.0, 4.0)],
    }
    *_, ours, bake = table(HEAD, runs).splitlines()
    assert ours == "| inv build push | 1.00 | 2.00 | 9.00 | 1.00 | 12 | 4.1 | 6.0 |"
    assert bake == "| bake | 2.00 | 4.00 | 18.00 | 2.00 | 40 | 20.0 | 32.9 |"


def test_time_outside_steps_is_the_rest_and_versions_do_not_split_steps() -> None:
    printed = (
        "✓ release 0.1.0-dev.2: put (1.0 s)\n✓ sign (0.5 s)\n",
        "✓ release 0.1.0-dev.3: put (2.0 s)\n",
    )
    runs = [
        Run(seconds, Traffic(), text) for seconds, text in zip((4.0, 6.0), printed, strict=True)
    ]
    assert module._spent(runs).endswith("release 1.5, sign 0.2, everything else 3.2.")


def test_peers_build_the_same_images_each_in_its_own_path() -> None:
    services = yaml_strict.load((ROOT / module.PEERS / "compose.yaml").read_text())["services"]
    built = {name: service["build"]["context"] for name, service in services.items()}
    assert built == {name: name for name in IMAGES}
    baked = (ROOT / module.PEERS / "docker-bake.hcl").read_text()
    assert 'targets = ["base-image", "api-rest", "async-worker"]' in baked
    assert len({contender.path for contender in contenders()}) == len(contenders())


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A repository with the one file that is changed."""
    made = Sources(tmp_path / "sources", Relay(1), 1, "")
    file = made.folder / module.CHANGED
    file.parent.mkdir(parents=True)
    file.write_text("VERSION = 1\n")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=develop", made.folder], check=True)
    module._commit(made.folder, "feat: everything")
    return made


def test_every_change_is_unique(sources: Sources, tmp_path: Path) -> None:
    """An engine's cache has earlier builds: it would serve the same line again."""
    another = Sources(tmp_path / "another", Relay(1), 1, "")
    shutil.copytree(sources.folder, another.folder)
    copies = (sources, another)
    for copy in (*copies, *copies):
        copy.change()
    files = [copy.folder / module.CHANGED for copy in copies]
    lines = [line for file in files for line in file.read_text().splitlines()[1:]]
    assert len(set(lines)) == len(lines) == 4


def test_a_clone_is_clean_and_is_removed(sources: Sources) -> None:
    with sources.clone() as clone:
        assert (clone / ".venv").readlink() == ROOT / ".venv"
        argv = ["git", "-C", str(clone), "status", "--porcelain", "--branch"]
        status = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert status == "## develop...origin/develop\n"
    assert not clone.exists()


@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        ("true", "sh has not pushed base-image:"),
        ("rm .venv; mkdir .venv", r"\.venv does not match its lock"),
        ("echo no $TAG; exit 3", r"exit 3: exit 3: no [0-9a-f]{12}$"),
    ],
    ids=["pushed nothing", "made a .venv", "failed"],
)
def test_a_contender_that_failed_is_not_measured(
    sources: Sources, script: str, refusal: str
) -> None:
    contender = module.Contender("sh", "sh", (("sh", "-c", script),))
    with sources.clone() as clone, pytest.raises(BenchError, match=refusal):
        sources.go(contender, clone)


def test_a_contender_has_no_variables_of_a_ci_server(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in module.FOREIGN:
        monkeypatch.setenv(name, "here")
    monkeypatch.setattr(Sources, "_check", lambda *_: None)
    with sources.clone() as clone:
        printed = sources.go(
            module.Contender("env", "env", (("env",),), {"ITS": "own"}), clone
        ).output.splitlines()
    assert not module.FOREIGN & {line.partition("=")[0] for line in printed}
    assert {
        "DELIVERY_REGISTRY=localhost:0/env",
        "REGISTRY=localhost:0/env",
        "COMPOSE_PROJECT_NAME=delivery-bench",
        "ITS=own",
    } <= set(printed)


def test_only_this_runs_images_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = "localhost:5/a/x 1 sha256:a\nlocalhost:5/a/y <none> sha256:b\nlocalhost:5/a/z <none> \n"
    listed = f"{ours}localhost:50/z 1 sha256:c\nregistry 2 sha256:d\n"
    removed: list[str] = []

    def docker(*arguments: str) -> str:
        if arguments[:2] == ("image", "rm"):
            removed.append(arguments[-1])
        return listed

    monkeypatch.setattr(module, "docker", docker)
    module._remove_images("localhost:5/")
    assert removed == ["localhost:5/a/x:1", "localhost:5/a/y@sha256:b"]
