"""The platform's containers by `docker compose`: the external dependencies, and the apps beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from delivery import process
from delivery.errors import CommandError, PlatformError
from delivery.host.docker_api import Engine

__all__ = ["PROJECT", "Compose", "Service"]

PROJECT = "com.docker.compose.project"  # compose's own label of what belongs to a project
_FOLDER = f"{PROJECT}.working_dir"

_ALL = ("*",)  # every profile that the files declare


@dataclass(frozen=True)
class Service:
    """A container of the platform: its service's name, state, health ("" without a check), image, and published ports."""

    name: str
    id: str
    state: str
    health: str
    image: str
    ports: tuple[int, ...]

    @property
    def is_well(self) -> bool:
        """Whether it runs, and no check of it says otherwise."""
        return self.state == "running" and self.health in {"", "healthy"}


@dataclass(frozen=True)
class Compose:
    """A compose project: its name, the folder and files that declare it, their variables, the profiles.

    Profiles say what is brought up; whatever looks at the project, or takes it down, means all of it.
    """

    engine: Engine
    name: str
    folder: Path
    files: tuple[str, ...]
    variables: Mapping[str, str]
    profiles: tuple[str, ...] = ()

    def up(self, on_line: Callable[[str], None], *, seconds: int = 300) -> None:
        """Bring every service of the profiles up and wait until all are healthy; what is up and unchanged is left alone."""
        argv = ["up", "--detach", "--wait", "--wait-timeout", str(seconds), "--remove-orphans"]
        try:
            self._stream(argv, "bring the platform up", on_line, self.profiles)
        except CommandError as error:
            raise self._not_up(error) from error

    def down(self, on_line: Callable[[str], None], *, volumes: bool) -> None:
        """Stop and remove the containers and networks, and the volumes too when asked."""
        self._stream(
            ["down", "--remove-orphans", *(["--volumes"] if volumes else [])],
            "bring the platform down",
            on_line,
        )

    def services(self) -> list[Service]:
        """What runs, or has run, by name."""
        printed = self._capture(
            ["ps", "--all", "--format", "json"], "list the platform's containers"
        )
        services = [_service(json.loads(line)) for line in printed.splitlines()]
        return sorted(services, key=lambda service: service.name)

    def other_folders(self) -> list[str]:
        """The folders of other clones that containers of this project were made from."""
        containers = self.engine.labelled(f"{PROJECT}={self.name}")
        folders = {container.labels.get(_FOLDER, "") for container in containers} - {""}
        return sorted(path for path in folders if Path(path).is_dir() and Path(path) != self.folder)

    def volumes(self) -> list[str]:
        """The names of the volumes that hold the project's data."""
        return self.engine.volumes(f"{PROJECT}={self.name}")

    def declared(self) -> list[str]:
        """The names of the services that the files declare."""
        return sorted(self._config(_ALL)["services"])

    def ports(self) -> list[tuple[str, int]]:
        """The host ports that the services are to publish, each with its service's name."""
        return [
            (name, int(port["published"]))
            for name, service in self._config(self.profiles)["services"].items()
            for port in service.get("ports") or ()
        ]

    def _config(self, profiles: Sequence[str]) -> dict[str, Any]:
        printed = self._capture(["config", "--format", "json"], "read the compose files", profiles)
        return cast("dict[str, Any]", json.loads(printed))

    def logs(
        self, services: Sequence[str], on_line: Callable[[str], None], *, follow: bool, tail: int
    ) -> None:
        """Give the services' last lines to on_line, and go on until interrupted when asked."""
        argv = ["logs", "--tail", str(tail), *(["--follow"] if follow else []), *services]
        with suppress(KeyboardInterrupt):  # which is how one stops following
            # Compose writes "erase this line" before each, terminal or not.
            self._stream(
                argv,
                "show the logs",
                lambda line: on_line(line.rstrip("\n").removeprefix("\x1b[2K")),
            )

    def _not_up(self, error: CommandError) -> PlatformError:
        """Why the platform is not up: what compose said, and the last words of each service that is not well."""
        details = [error.tail]
        unwell = [service.name for service in self.services() if not service.is_well]
        for name in unwell:
            argv = ["logs", "--no-color", "--no-log-prefix", "--tail", "15", name]
            last = self._capture(argv, f"read the log of {name}")
            details.append(f"--- {name}, the last lines of its log\n{last.rstrip()}")
        what = f"{', '.join(unwell)} did not become healthy" if unwell else "compose failed"
        return PlatformError(
            f"bring the platform up: {what}",
            details="\n".join(details),
            hint="`./run inv logs --service NAME` shows more; `./run inv up` goes on from here once it is mended",
        )

    def _stream(
        self,
        argv: list[str],
        doing: str,
        on_line: Callable[[str], None],
        profiles: Sequence[str] = _ALL,
    ) -> None:
        line = self._argv(argv, profiles)
        process.stream(line, doing=doing, on_line=on_line, options=self._options())

    def _capture(self, argv: list[str], doing: str, profiles: Sequence[str] = _ALL) -> str:
        line = self._argv(argv, profiles)
        return process.capture(line, doing=doing, options=self._options())

    def _argv(self, argv: Sequence[str], profiles: Sequence[str] = _ALL) -> list[str]:
        files = [word for file in self.files for word in ("--file", file)]
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        return [
            "docker",
            "compose",
            "--ansi",
            "never",
            "--progress",
            "plain",
            *files,
            *chosen,
            *argv,
        ]

    def _options(self) -> process.Options:
        # A COMPOSE_FILE of the user's would change which project this is.
        kept = {name: "" for name in ("COMPOSE_FILE", "COMPOSE_PROFILES") if name in os.environ}
        # The name goes before the one in the files, which is for compose by hand.
        named = {**kept, "COMPOSE_PROJECT_NAME": self.name}
        return process.Options(self.folder, {**self.engine.environment, **self.variables, **named})


def _service(container: Mapping[str, Any]) -> Service:
    """A container as `docker compose ps` prints it."""
    published = {int(port["PublishedPort"] or 0) for port in container.get("Publishers") or []}
    return Service(
        name=container["Service"],
        id=container["ID"],
        state=container["State"],
        health=container.get("Health", ""),
        image=container["Image"],
        ports=tuple(sorted(published - {0})),
    )
