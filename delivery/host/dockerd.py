"""A private Docker engine: Debian's dockerd with all its files in the cache."""

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
    "previous_policy",
    "revive",
    "start",
    "stop",
    "unmount",
]

# The engine, packages that it only recommends, and packages that must come from this release; and
# mmdebstrap, which the first image needs where no registry answers: one installation is quicker.
PACKAGES = (
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "iptables",
    "runc",
    "ca-certificates",
    "mmdebstrap",
)
_SOCKET_LIMIT = 104  # bytes of a Unix socket's path on every system
_TIMEOUT_SECONDS = 60

_SETTINGS = {
    # The containerd image store: reproducible digests, builds into OCI layouts, pulls by digest.
    "features": {"containerd-snapshotter": True},
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m", "max-file": "3"},
    "builder": {"gc": {"enabled": True, "defaultKeepStorage": "10GB"}},
}


def _home() -> Path:
    return cache.folder("engine")


def address() -> str:
    """The address of the private engine, whether or not it runs."""
    path = _home() / "docker.sock"
    if len(os.fsencode(path)) > _SOCKET_LIMIT:
        raise EngineError(
            f"cannot start a private engine: the path {path} is too long for a socket",
            hint="set XDG_CACHE_HOME to a shorter path",
        )
    return f"unix://{path}"


def log() -> Path:
    """The log file of the private engine."""
    return _home() / "dockerd.log"


def pid() -> int:
    """The process id of the private engine, or 0 if it does not run.

    The id in the file may belong to another program meanwhile, so its command line is compared.
    """
    try:
        number = int((_home() / "dockerd.pid").read_text(encoding="ascii"))
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return number if os.fsencode(address()) in words else 0


def start(on_line: Callable[[str], None]) -> None:
    """Start the private engine and wait until it listens; install Debian's if it is missing."""
    if pid():
        return
    if not _installed():
        debian.install(PACKAGES, on_line)
    home = _home()
    log().unlink(missing_ok=True)
    if not _policy_file().exists():  # the file of a killed engine has the earlier policy
        _policy_file().write_text(bridges.policy(), encoding="ascii")
    # A killed engine's file would make dockerd take the process with that id for another engine.
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
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    # dockerd creates its socket before it answers.
    while b"API listen on" not in log().read_bytes():
        if daemon.poll() is not None or time.monotonic() > deadline:
            state = "ended" if daemon.poll() is not None else "does not listen"
            lines = log().read_text(encoding="utf-8", errors="replace").splitlines()
            raise EngineError(
                f"cannot start a private engine: dockerd {state}",
                details="\n".join(lines[-12:]),
                hint=f"see {log()}; dockerd needs root's capabilities, cgroups and iptables",
            )
        time.sleep(0.1)
    daemon.returncode = 0  # silences Python's warning about a child process that still runs
    on_line("dockerd listens")


def _installed() -> bool:
    plugins = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins")
    has_plugins = all(
        any(Path(folder, f"docker-{plugin}").exists() for folder in plugins)
        for plugin in ("buildx", "compose")
    )
    return has_plugins and all(
        shutil.which(program) for program in ("dockerd", "docker", "iptables")
    )


def revive() -> None:
    """Restart a killed engine whose containers still run: only it can stop them."""
    if not pid() and _has_orphans():
        start(lambda _: None)


def previous_policy() -> str:
    """The policy of the chain FORWARD before the engine was started; "" if unknown."""
    try:
        return _policy_file().read_text(encoding="ascii")
    except OSError:
        return ""


def _policy_file() -> Path:
    return _home() / "forward-policy"


def stop() -> bool:
    """Stop the private engine and its containers; return False if it did not run.

    Images, volumes and build cache stay.
    """
    number = pid()
    if not number:
        return False
    os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while pid() == number:
        if time.monotonic() > deadline:
            raise EngineError(
                f"cannot stop the private engine: process {number} runs after {_TIMEOUT_SECONDS} s",
                hint=f"see {log()}; end it with `kill -9 {number}`",
            )
        time.sleep(0.1)
    _policy_file().unlink(missing_ok=True)
    return True


def _has_orphans() -> bool:
    """Whether a container of a killed engine runs: its shim has the engine's folder in its argv."""
    home = os.fsencode(_home()) + b"/"
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            if home in file.read_bytes():
                return True
    return False


def unmount() -> None:
    """Unmount what a killed engine left mounted in its folder."""
    table = Path("/proc/self/mounts")
    if not table.exists():  # only Linux has it, and private engines
        return
    home = str(_home())
    mounts = [line.split()[1] for line in table.read_text(encoding="utf-8").splitlines()]
    for path in sorted((path for path in mounts if path.startswith(f"{home}/")), reverse=True):
        process.capture(["umount", "--lazy", path], doing=f"unmount {path}")
