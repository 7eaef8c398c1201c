"""`inv dev`: which files it watches, what it does with each, and that it restores what ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from delivery import console
from delivery.cluster import local_cluster
from delivery.deploy import deploying
from delivery.errors import DeclarationError, DeployError, EngineError, TerminatedError
from delivery.host import engines, wheel
from delivery.host.docker_api import Engine
from delivery.platform import dev, lifecycle, startup
from delivery.platform.compose import Compose, Service
from delivery.platform.edits import Edits
from delivery.project.declaration import Declaration
from delivery.release import releasing
from delivery.release.released import Release

SOURCE = "api-rest/src/api_rest/page.py"


class FakeEngine:
    """An engine whose containers can import everything, unless `broken`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.environment: dict[str, str] = {}
        self.broken = False
        self.ended = self.asked = 0
        self.mounted = {"/site/api_rest"}

    def execute(self, _name: str, argv: list[str]) -> str:
        if "find_spec" in argv[2]:
            return f"/site/{argv[3]}\n"
        self.calls.append("import")
        if self.broken:
            raise EngineError("cannot run python3", details="SyntaxError: invalid syntax")
        return ""

    def mounts(self, _name: str) -> set[str]:
        return self.mounted

    def restart(self, name: str) -> None:
        self.calls.append(f"restart {name}")

    def new_lines(self, name: str, since: str) -> Iterator[tuple[str, str]]:
        assert since < "2100"
        yield from [("2100-01-01", f"a line of {name}")] if since < "2099" else []

    def restarts(self, _name: str) -> int:
        return self.ended

    def is_healthy(self, _name: str) -> bool:
        self.asked += 1
        return self.asked == 2


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def edit(
    engine: FakeEngine, sample: Path, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Run `inv dev` for these edits, then interrupt it."""
    package = sample / "api-rest" / "src" / "api_rest"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    service = Service("api-rest", "c1", "running", "healthy", "api-rest", (8000,))
    monkeypatch.setattr(Compose, "services", lambda _self: [service])
    monkeypatch.setattr(
        startup, "up", lambda _declaration: SimpleNamespace(engine=cast("Engine", engine))
    )
    monkeypatch.setattr(lifecycle, "released", lambda *_arguments: Release({}))
    monkeypatch.setattr(
        lifecycle, "up", lambda project, _release: engine.calls.append(f"up {project.files[-1]}")
    )

    def ensure_images(*_arguments: object) -> Release:
        engine.calls.append("build")
        return Release({})

    monkeypatch.setattr(releasing, "ensure_images", ensure_images)
    monkeypatch.setattr(requests, "get", lambda *_a, **_k: SimpleNamespace(status_code=200))

    def run(*edits: Edits, end: type[BaseException] = KeyboardInterrupt, debug: str = "") -> None:
        def edited(*_arguments: object) -> Iterator[Edits]:
            yield from edits
            raise end

        monkeypatch.setattr(dev, "_edits", edited)
        dev.develop(declaration, debug, sample)

    return run


def test_a_source_is_imported_then_its_app_restarted_and_the_built_apps_restored(
    edit: Callable[..., None], engine: FakeEngine, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(Edits({"api-rest": [SOURCE]}))
    mounted = f"up {sample}/.delivery/dev.json"
    assert engine.calls == [mounted, "import", "restart c1", "up ops/docker-compose.apps.yaml"]
    assert "(page.py)" in capsys.readouterr().out


def test_an_app_without_a_port_is_served_once_it_is_healthy(
    edit: Callable[..., None],
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = Service("api-rest", "c1", "running", "healthy", "api-rest", ())
    monkeypatch.setattr(Compose, "services", lambda _self: [service])
    edit(Edits({"api-rest": [SOURCE]}))
    assert engine.asked == 2
    assert "reloaded in" in capsys.readouterr().out


def test_sources_that_another_command_has_unmounted_are_mounted_again(
    edit: Callable[..., None], engine: FakeEngine, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.mounted = set()
    edit(Edits({"api-rest": [SOURCE]}))
    assert engine.calls[:2] == [f"up {sample}/.delivery/dev.json"] * 2
    assert "reloaded in" not in capsys.readouterr().out


def test_what_cannot_be_imported_is_shown_and_not_restarted(
    edit: Callable[..., None], engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.broken = True
    edit(Edits({"api-rest": [SOURCE]}), Edits({"api-rest": [SOURCE]}))
    assert "restart c1" not in engine.calls
    printed = capsys.readouterr().err
    assert "SyntaxError" in printed
    assert printed.count("it serves on as it was") == 2


def test_an_app_that_ends_by_itself_is_an_error_and_the_next_edit_is_taken(
    edit: Callable[..., None],
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", refuse)
    engine.ended = 1
    edit(Edits({"api-rest": [SOURCE]}), Edits(chart=["platform-chart/values.yaml"]))
    printed = capsys.readouterr()
    assert "cannot reload api-rest: it does not serve" in printed.err
    assert "values.yaml changed: `./run inv deploy` uses it" in printed.out


def test_an_app_that_ends_again_and_again_is_started_with_the_edit(
    edit: Callable[..., None], engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.ended, engine.broken = 3, True  # its container may be about to start again
    edit(Edits({"api-rest": [SOURCE]}))
    assert "import" not in engine.calls
    assert "restart c1" in engine.calls
    assert "reloaded in" in capsys.readouterr().out


def test_other_files_of_an_image_build_it_again(
    edit: Callable[..., None], engine: FakeEngine
) -> None:
    edit(Edits({"api-rest": [SOURCE]}, rebuilds=["api-rest/poetry.lock"]))
    assert engine.calls.count("build") == 1
    assert "restart c1" not in engine.calls  # the new container has the source


def test_the_apps_are_restored_after_sigterm_too(
    edit: Callable[..., None], engine: FakeEngine
) -> None:
    with pytest.raises(TerminatedError):
        edit(end=TerminatedError)
    assert engine.calls[-1] == "up ops/docker-compose.apps.yaml"


def test_an_unknown_app_cannot_be_debugged(edit: Callable[..., None], engine: FakeEngine) -> None:
    with pytest.raises(DeclarationError) as caught:
        edit(debug="api-rset")
    assert engine.calls == []  # before the platform is started
    assert "did you mean api-rest?" in caught.value.hint


def test_only_files_of_images_and_chart_are_edits(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample / "api-rest" / ".dockerignore").write_text("tests\n")
    names = ("api-rest/tests/test_page.py", "api-rest/Dockerfile", "platform-chart/values.yaml")
    changes = [{(1, str(sample.resolve() / name))} for name in names]
    monkeypatch.setattr("watchfiles.watch", lambda *_paths, **_options: iter(changes))
    found = list(dev._edits(declaration, (), sample, "all stays"))
    assert [(*each.rebuilds, *each.chart) for each in found] == [(names[1],), (names[2],)]


def test_an_edit_is_taken_from_the_moment_that_it_says_so(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, said = sample / "api-rest" / "Dockerfile", list[str]()

    def say(text: str) -> None:
        said.append(text)
        file.write_text("FROM scratch\n")

    monkeypatch.setattr(console, "say", say)
    edits = next(dev._edits(declaration, (), sample, "all stays"))
    assert edits.rebuilds == ["api-rest/Dockerfile"]
    assert said == ["\nwatching this clone; Ctrl-C ends it, and all stays"]


def test_in_the_cluster_each_edit_is_deployed_and_a_failure_does_not_end_it(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested: list[Any] = []

    def deploy(_declaration: object, request: object, *_arguments: object) -> None:
        requested.append(request)
        if len(requested) == 2:
            raise DeployError("cannot deploy to local: not ready")

    def edited(*_arguments: object) -> Iterator[Edits]:
        yield Edits(rebuilds=[SOURCE])
        yield Edits(chart=["platform-chart/values.yaml"])
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "ensure", lambda: None)
    monkeypatch.setattr(
        local_cluster, "up", lambda *_arguments: SimpleNamespace(context="kind-sample")
    )
    monkeypatch.setattr(deploying, "deploy", deploy)
    monkeypatch.setattr(dev, "_edits", edited)
    dev.develop_in_cluster(declaration)
    assert {(each.environment, each.version, each.context) for each in requested} == {
        ("local", "current", "kind-sample")
    }
    assert len(requested) == 3
    printed = capsys.readouterr()
    assert "not ready" in printed.err
    assert printed.out.count("deployed after") == 1


def test_another_lock_installs_another_debugger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "ops" / "locks" / "debug.txt"
    lock.parent.mkdir(parents=True)
    installed: list[Path] = []

    def install(_lock: Path, into: Path, _on_line: object, *, python: str) -> None:
        assert python == wheel.IMAGES_PYTHON
        into.mkdir()
        installed.append(into)

    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(wheel, "install", install)
    folders = []
    for text in ("debugpy==1", "debugpy==1", "debugpy==2"):
        lock.write_text(text)
        folders.append(dev._debugger())
    assert folders[0] == folders[1] != folders[2]
    assert len(installed) == 2
    assert all(folder.is_dir() for folder in folders)
