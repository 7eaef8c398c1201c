"""What an edit of this clone's files means for the running apps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from delivery.project.declaration import Declaration

__all__ = ["DEBUG_PORT", "Edits", "Package", "override", "sort_edits"]

DEBUG_PORT = 5678  # debugpy's own default
_DEBUGGER = "/opt/debugpy"


@dataclass(frozen=True)
class Package:
    """A Python package of this clone that is mounted into an app's container."""

    app: str
    name: str
    folder: str  # in this clone, relative to its root
    target: str  # its folder in the container


@dataclass(frozen=True)
class Edits:
    """Changed files, by what they mean."""

    # The changed sources of each app that is to start again.
    reloads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rebuilds: Sequence[str] = ()  # files that only a build of an image uses
    chart: Sequence[str] = ()  # files that only a deploy uses


def sort_edits(
    declaration: Declaration, packages: Iterable[Package], paths: Iterable[str]
) -> Edits:
    """Sort changed files, given by their paths relative to the clone's root."""
    reloads: dict[str, list[str]] = {}
    rebuilds: list[str] = []
    mounted, changed = list(packages), sorted(set(paths))
    folders = {folder for image in declaration.images.values() for folder in image.folders}
    for path in changed:
        apps = [package.app for package in mounted if _is_in(path, package.folder)]
        for app in apps:
            reloads.setdefault(app, []).append(path)
        if not apps and any(_is_in(path, folder) for folder in folders):
            rebuilds.append(path)
    chart = [path for path in changed if _is_in(path, declaration.chart.folder)]
    return Edits(reloads, rebuilds, chart)


def override(
    packages: Iterable[Package], root: str, *, debug: str = "", debugger: str = ""
) -> dict[str, object]:
    """The compose file that mounts packages into their apps, read-only.

    debug: the app that waits for a debugger at its start, with the package of the debugger in the
    folder `debugger` of this machine.
    """
    by_app: dict[str, list[Package]] = {}
    for package in packages:
        by_app.setdefault(package.app, []).append(package)
    services: dict[str, dict[str, object]] = {}
    for app, its_packages in by_app.items():
        mounts = [_mount(f"{root}/{each.folder}", each.target) for each in its_packages]
        waiting: dict[str, object] = {}
        if app == debug:
            mounts.append(_mount(debugger, _DEBUGGER))
            waiting = _waiting(its_packages[0])  # the first is the app's own
        services[app] = {"volumes": mounts, **waiting}
    return {"services": services}


def _waiting(package: Package) -> dict[str, object]:
    """The settings of a service whose app starts when a debugger is connected."""
    listen = ["--listen", f"0.0.0.0:{DEBUG_PORT}", "--wait-for-client"]
    return {
        "entrypoint": ["python3", "-m", "debugpy", *listen, "-m", package.name],
        "environment": {"PYTHONPATH": _DEBUGGER},
        "ports": [f"127.0.0.1:{DEBUG_PORT}:{DEBUG_PORT}"],
        # The app answers only after that, and a start waits for a health check to pass.
        "healthcheck": {"test": ["CMD", "python3", "-S", "-c", ""], "interval": "1h"},
    }


def _mount(source: str, target: str) -> dict[str, object]:
    # Compose replaces variables in every value.
    return {
        "type": "bind",
        "source": source.replace("$", "$$"),
        "target": target,
        "read_only": True,
    }


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")
