"""Run the platform with this clone's sources: a saved file is served at once."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import requests

from delivery import cache, console, locks
from delivery.cluster import local_cluster
from delivery.deploy import deploying
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.errors import DeliveryError, EngineError, TerminatedError, check_known
from delivery.host import engines, wheel
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle, startup
from delivery.platform.compose import Compose
from delivery.platform.edits import DEBUG_PORT, Edits, Package, override, sort_edits
from delivery.project import files, ignores
from delivery.project.declaration import LOCAL, Declaration
from delivery.project.files import ROOT
from delivery.release import catalog, releasing
from delivery.release.released import Release
from delivery.words import shorten

__all__ = ["develop", "develop_in_cluster"]

_SERVED_SECONDS = 20.0
_SERVER_ERROR = 500
_IMPORT_ALL = (
    "import importlib, pkgutil, sys; package = importlib.import_module(sys.argv[1]);"
    " [importlib.import_module(module.name) for module in"
    " pkgutil.iter_modules(package.__path__, package.__name__ + '.')]"
)
_FIND = (
    "import importlib.util as util, sys;"
    " print(*util.find_spec(sys.argv[1]).submodule_search_locations)"
)


def develop(declaration: Declaration, debug: str = "", root: Path = ROOT) -> None:
    """Start the platform, and reload its apps when their sources change, until interrupted.

    debug: an app that waits for a debugger.
    """
    if debug:
        check_known(
            debug, declaration.components(), f"cannot debug {debug}: no app of the platform"
        )
    engine = startup.up(declaration).engine
    loop = _Loop(declaration, engine, root, debug)
    try:
        loop.start(lifecycle.released(root) or Release({}))
        with loop.logs(), _until_interrupted():
            for edits in _edits(declaration, loop.packages, root, "the apps run as built again"):
                loop.take(edits)
    finally:
        loop.restore()


def develop_in_cluster(declaration: Declaration, root: Path = ROOT) -> None:
    """Deploy this clone to the local cluster, and again when a file changes, until interrupted."""
    cluster = local_cluster.up(engines.ensure(), declaration)
    request = DeployRequest(LOCAL, catalog.CURRENT, context=cluster.context, yes=True)
    deploying.deploy(declaration, request, Options(), root)
    with _until_interrupted():
        for edits in _edits(declaration, (), root, "what is deployed stays"):
            if changed := [*edits.rebuilds, *edits.chart]:
                console.say(f"\n{shorten(changed)} changed")
                with _going_on():
                    began = time.monotonic()
                    deploying.deploy(declaration, request, Options(), root)
                    console.say(f"deployed after {time.monotonic() - began:.1f} s")


def _edits(
    declaration: Declaration, packages: Sequence[Package], root: Path, then: str
) -> Iterator[Edits]:
    """Each group of edits in the folders of images and chart, until this is interrupted.

    Says so once it watches: an edit from then on is not missed. then: what is so after Ctrl-C.
    """
    from watchfiles import watch

    folders = {folder for image in declaration.images.values() for folder in image.folders}
    chart = declaration.chart.folder
    ignored = {folder: ignores.for_image(root / folder) for folder in folders}
    ignored[chart] = ignores.for_chart(root / chart)
    watched, is_said = [root / folder for folder in ignored], False
    # An editor writes a file in several steps, all within some milliseconds.
    for changes in watch(*watched, debounce=200, step=20, rust_timeout=200, yield_on_timeout=True):
        if not is_said:
            console.say(f"\nwatching this clone; Ctrl-C ends it, and {then}")
            is_said = True
        edited = (Path(path).relative_to(root.resolve()) for _, path in changes)
        paths = [
            path.as_posix()
            for path in edited
            for folder, is_ignored in ignored.items()
            if path.is_relative_to(folder) and not is_ignored(path.relative_to(folder).as_posix())
        ]
        if paths:
            yield sort_edits(declaration, packages, paths)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Take Ctrl-C for the wish to end; SIGTERM and SIGHUP end the task as others."""
    try:
        yield
    except TerminatedError:
        raise
    except KeyboardInterrupt:
        console.say("")


@contextmanager
def _going_on() -> Iterator[None]:
    """Print an error of an edit, and go on: the next edit may mend it."""
    try:
        yield
    except DeliveryError as error:
        console.error(error)


@dataclass
class _Loop:
    """The apps with mounted sources."""

    declaration: Declaration
    engine: Engine
    root: Path
    debug: str
    packages: tuple[Package, ...] = ()

    def start(self, release: Release) -> None:
        """Start the apps of a release again, with this clone's sources."""
        built = self._project(release)
        services = {service.name: service for service in built.services()}
        apps = [name for name in self.declaration.components() if name in services]
        self.packages = tuple(
            package for app in apps for package in self._packages(app, services[app].id)
        )
        self._up(release)

    def take(self, edits: Edits) -> None:
        """Reload or rebuild what changed."""
        if edits.rebuilds:
            console.say(f"{shorten(edits.rebuilds)} changed: build again")
            with _going_on():
                self._up(releasing.ensure_images(self.engine, self.declaration))
        else:
            for app, changed in edits.reloads.items():
                with _going_on():
                    self._reload(app, changed)
        if edits.chart:
            console.say(f"{shorten(edits.chart)} changed: `./run inv deploy` uses it")

    def restore(self) -> None:
        """Run the apps as they were built."""
        if self.packages and (release := lifecycle.released(self.root)):
            console.say("")
            lifecycle.up(self._project(release), release)

    @contextmanager
    def logs(self) -> Iterator[None]:
        """Print the apps' logs meanwhile."""
        ended, project = threading.Event(), self._mounted().name
        for app in {package.app for package in self.packages}:
            names = (app, f"{project}-{app}-1")
            threading.Thread(target=self._follow, args=(*names, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _follow(self, app: str, container: str, ended: threading.Event) -> None:
        """Print an app's log, also of its next containers."""
        latest = datetime.now(UTC).isoformat()
        while not ended.is_set():
            with suppress(DeliveryError):  # there is no container while a new one is made
                for moment, text in self.engine.new_lines(container, latest):
                    if ended.is_set():
                        return
                    console.log_line(app, text)
                    latest = moment
            ended.wait(0.1)

    def _reload(self, app: str, changed: Sequence[str]) -> None:
        began = time.monotonic()
        service = next(each for each in self._mounted().services() if each.name == app)
        packages = [package for package in self.packages if package.app == app]
        if not {package.target for package in packages} <= self.engine.mounts(service.id):
            console.say(f"{app} was started again without this clone's sources: mount them again")
            self._up(lifecycle.released(self.root) or Release({}))
            return
        if not self.engine.restarts(service.id):  # else it does not serve, and ends again and again
            self._check_imports(app, service.id, packages[0].name)
        self.engine.restart(service.id)
        if app == self.debug:
            console.say(f"{app} waits for a debugger at localhost:{DEBUG_PORT}")
            return
        self._wait(app, service.id, service.ports)
        # Editors also write files of their own for a moment.
        kept = [path for path in changed if (self.root / path).exists()] or changed
        names = shorten([Path(path).name for path in kept])
        console.say(f"{app} reloaded in {time.monotonic() - began:.2f} s ({names})")

    def _check_imports(self, app: str, container: str, package: str) -> None:
        try:
            self.engine.execute(container, ["python3", "-c", _IMPORT_ALL, package])
        except EngineError as error:
            raise DeliveryError(
                f"cannot reload {app}: its modules cannot be imported; it serves on as it was",
                details=error.details or error.message,
                hint="correct what stands above, and save it",
            ) from error

    def _wait(self, app: str, container: str, ports: Sequence[int]) -> None:
        """Wait until the app serves: it answers at its port, or is healthy without one."""
        is_served: Callable[[], bool] = (
            (lambda: _answers(ports[0])) if ports else (lambda: self.engine.is_healthy(container))
        )
        deadline = time.monotonic() + _SERVED_SECONDS
        while not is_served():
            if self.engine.restarts(container) or time.monotonic() > deadline:
                raise DeliveryError(
                    f"cannot reload {app}: it does not serve",
                    hint="correct what its log above says, and save it",
                )
            time.sleep(0.02)

    def _packages(self, app: str, container: str) -> Iterator[Package]:
        """The packages in src/ of the app's build contexts, its own first."""
        for folder in self.declaration.images[app].folders:
            for file in sorted((self.root / folder / "src").glob("*/__init__.py")):
                name = file.parent.name
                target = self.engine.execute(container, ["python3", "-c", _FIND, name]).strip()
                yield Package(app, name, f"{folder}/src/{name}", target)

    def _up(self, release: Release) -> None:
        debugger = _debugger() if self.debug else Path()
        content = override(self.packages, str(self.root), debug=self.debug, debugger=str(debugger))
        self._override.write_text(json.dumps(content, indent=2), encoding="utf-8")
        lifecycle.up(self._mounted(release), release)
        if self.debug:
            console.say(f"{self.debug} waits for a debugger at localhost:{DEBUG_PORT}")

    @property
    def _override(self) -> Path:
        return files.output("dev.json", root=self.root)

    def _mounted(self, release: Release | None = None) -> Compose:
        project = self._project(release or lifecycle.released(self.root))
        return replace(project, files=(*project.files, str(self._override)))

    def _project(self, release: Release | None) -> Compose:
        return lifecycle.compose(self.engine, self.declaration, release, self.root)


def _answers(port: int) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code < _SERVER_ERROR
    return False


def _debugger() -> Path:
    """The folder with debugpy for the Python of the images, which is installed once."""
    lock = ROOT / "ops" / "locks" / "debug.txt"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = cache.folder("programs") / f"debugpy-{key}"  # another lock has another version
    with console.step("debugpy") as step, locks.hold("debugpy"):
        if not folder.exists():
            partial = folder.with_suffix(".part")
            wheel.install(lock, partial, step.line, python=wheel.IMAGES_PYTHON)
            partial.rename(folder)
        cache.mark_used(folder)
        step.done(str(folder))
    return folder
