"""A private Docker engine: Debian's dockerd with everything of its own inside the cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from delivery import cache, process
from delivery.errors import EngineError
from delivery.host import bridges, debian

__all__ = [
    "PACKAGES",
    "address",
    "log",
    "pid",
    "policy_before",
    "revive",
    "start",
    "stop",
    "unmount",
]

# The engine itself, and what its package only recommends or is to take from this release rather than from the newer one.
PACKAGES = (
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "iptables",
    "runc",
    "ca-certificates",
)
_SOCKET_LIMIT = 104  # bytes of a Unix socket's path that every system takes
_PATIENCE_SECONDS = 60

_SETTINGS = {
    # The containerd image store: digests that repeat, OCI layouts out of builds, pulls by digest as production does them.
    "features": {"containerd-snapshotter": True},
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m", "max-file": "3"},
    "builder": {"gc": {"enabled": True, "defaultKeepStorage": "10GB"}},
}


def _home() -> Path:
    return cache.folder("engine")


def address() -> str:
    """Where the private engine listens, whether or not it runs."""
    path = _home() / "docker.sock"
    if len(os.fsencode(path)) > _SOCKET_LIMIT:
        raise EngineError(
            f"start a private engine: the path {path} is too long for a socket",
            hint="set XDG_CACHE_HOME to a shorter path",
        )
    return f"unix://{path}"


def log() -> Path:
    """The file that the private engine writes its log to."""
    return _home() / "dockerd.log"


def pid() -> int:
    """The process id of our engine, or 0 when it does not run. A number that another program got since is not ours."""
    try:
        number = int((_home() / "dockerd.pid").read_text(encoding="ascii"))
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return number if os.fsencode(address()) in words else 0


def start(on_line: Callable[[str], None]) -> None:
    """Start the private engine, installing Debian's where it is not there; return once it listens."""
    if pid():
        return
    if not _installed():
        debian.install(PACKAGES, on_line)
    home = _home()
    log().unlink(missing_ok=True)
    if not _policy_file().exists():  # else an engine that was killed has changed it
        _policy_file().write_text(bridges.policy(), encoding="ascii")
    # Left by one that was killed: dockerd would take whoever has its number now, or its unburied process, for another engine.
    (home / "dockerd.pid").unlink(missing_ok=True)
    settings = home / "daemon.json"
    settings.write_text(json.dumps(_SETTINGS, indent=2), encoding="utf-8")
    argv = [
        "dockerd",
        "--config-file",
        str(settings),
        "--data-root",
        str(home / "data"),
        "--exec-root",
        str(home / "exec"),
    ]
    argv += ["--pidfile", str(home / "dockerd.pid"), "--host", address()]
    daemon = process.detach(argv, doing="start a private engine", log=log())
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # dockerd makes its socket early; "API listen" is when it answers there.
    while b"API listen on" not in log().read_bytes():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise EngineError(
                f"start a private engine: dockerd {'ended' if daemon.poll() is not None else 'has not come up'}",
                details="\n".join(
                    log().read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
                ),
                hint=f"the whole log is {log()}; containers need root's capabilities, cgroups and iptables",
            )
        time.sleep(0.1)
    daemon.returncode = 0  # it outlives us on purpose: keep Python from warning about it
    on_line("dockerd listens")


def _installed() -> bool:
    plugins = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins")
    have = all(
        any(Path(folder, f"docker-{plugin}").exists() for folder in plugins)
        for plugin in ("buildx", "compose")
    )
    return have and all(shutil.which(program) for program in ("dockerd", "docker", "iptables"))


def revive() -> None:
    """Start an engine that was killed again, where containers of its have outlived it.

    Only an engine of the same folder takes them over, and can stop them.
    """
    if not pid() and _left_behind():
        start(lambda _: None)


def policy_before() -> str:
    """The policy of the kernel's chain FORWARD before the engine was started; "" where nobody knows."""
    try:
        return _policy_file().read_text(encoding="ascii")
    except OSError:
        return ""


def _policy_file() -> Path:
    return _home() / "forward-policy"


def stop() -> bool:
    """Stop the private engine with its containers; say whether it ran. Images, volumes and build cache stay."""
    number = pid()
    if not number:
        return False
    os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while pid() == number:
        if time.monotonic() > deadline:
            raise EngineError(
                f"stop the private engine: process {number} has not ended in {_PATIENCE_SECONDS} s",
                hint=f"see {log()}; `kill -9 {number}` ends it",
            )
        time.sleep(0.1)
    _policy_file().unlink(missing_ok=True)
    return True


def _left_behind() -> bool:
    """Whether a process of our engine's still runs: each container's keeper names our folder on its command line."""
    home = os.fsencode(_home()) + b"/"
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if home in file.read_bytes():
                return True
    return False


def unmount() -> None:
    """Let go of what an engine that was killed left mounted in its folder; one that was stopped leaves nothing."""
    table = Path("/proc/self/mounts")
    if not table.exists():  # only Linux has a private engine, and mounts of it
        return
    home = str(_home())
    mounted = [line.split()[1] for line in table.read_text(encoding="utf-8").splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{home}/")), reverse=True):
        process.capture(["umount", "--lazy", place], doing=f"let go of {place}")
