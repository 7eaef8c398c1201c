"""The platform's containers by `docker compose`: its dependencies and the apps."""

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

PROJECT = "com.docker.compose.project"  # compose's label for the name of the project
_FOLDER = f"{PROJECT}.working_dir"

_ALL = ("*",)  # every profile


@dataclass(frozen=True)
class Service:
    """A container of a service of the platform."""

    name: str  # the service's
    id: str
    state: str
    health: str  # "" without a health check
    image: str
    ports: tuple[int, ...]  # published on the host

    @property
    def is_healthy(self) -> bool:
        """Whether the container runs and no health check fails."""
        return self.state == "running" and self.health in {"", "healthy"}


@dataclass(frozen=True)
class Compose:
    """A compose project."""

    engine: Engine
    name: str
    folder: Path
    files: tuple[str, ...]
    variables: Mapping[str, str]  # of the files
    profiles: tuple[str, ...] = ()  # that `up` starts; all other methods work on all profiles

    def up(self, on_line: Callable[[str], None]) -> None:
        """Start the services of the profiles and wait until they are healthy.

        Unchanged containers are not restarted.
        """
        argv = ["up", "--detach", "--wait", "--wait-timeout", "300", "--remove-orphans"]
        try:
            self._stream(argv, "start the platform", on_line, self.profiles)
        except CommandError as error:
            raise self._not_healthy(error) from error

    def down(self, on_line: Callable[[str], None], *, volumes: bool) -> None:
        """Stop and remove the containers and networks, with volumes=True also the volumes."""
        self._stream(
            ["down", "--remove-orphans", *(["--volumes"] if volumes else [])],
            "stop the platform",
            on_line,
        )

    def services(self) -> list[Service]:
        """The containers, running or not, by name."""
        printed = self._capture(
            ["ps", "--all", "--format", "json"], "list the platform's containers"
        )
        services = [_service(json.loads(line)) for line in printed.splitlines()]
        return sorted(services, key=lambda service: service.name)

    def other_folders(self) -> list[str]:
        """The folders of other clones whose containers belong to this project."""
        containers = self.engine.labelled(f"{PROJECT}={self.name}")
        folders = {container.labels.get(_FOLDER, "") for container in containers} - {""}
        return sorted(path for path in folders if Path(path).is_dir() and Path(path) != self.folder)

    def volumes(self) -> list[str]:
        """The names of the project's volumes."""
        return self.engine.volumes(f"{PROJECT}={self.name}")

    def declared(self) -> list[str]:
        """The names of the services in the files."""
        return sorted(self._config(_ALL)["services"])

    def ports(self) -> list[tuple[str, int]]:
        """The host ports that the files publish, each with its service's name."""
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
        """Pass the services' last lines to on_line; with follow=True also later ones."""
        argv = ["logs", "--tail", str(tail), *(["--follow"] if follow else []), *services]
        with suppress(KeyboardInterrupt):  # ends --follow
            # Compose prints "erase this line" before each line, even without a terminal.
            self._stream(
                argv,
                "show the logs",
                lambda line: on_line(line.rstrip("\n").removeprefix("\x1b[2K")),
            )

    def _not_healthy(self, error: CommandError) -> PlatformError:
        """The error of a failed start, with the last log lines of unhealthy services."""
        details = [error.tail]
        unhealthy = [service.name for service in self.services() if not service.is_healthy]
        for name in unhealthy:
            argv = ["logs", "--no-color", "--no-log-prefix", "--tail", "15", name]
            log = self._capture(argv, f"read the log of {name}")
            details.append(f"--- {name}, the last lines of its log\n{log.rstrip()}")
        reason = f"{', '.join(unhealthy)} did not become healthy" if unhealthy else "compose failed"
        return PlatformError(
            f"cannot start the platform: {reason}",
            details="\n".join(details),
            hint="see `./run inv logs --service NAME`; then `./run inv up` continues",
        )

    def _stream(
        self,
        argv: list[str],
        doing: str,
        on_line: Callable[[str], None],
        profiles: Sequence[str] = _ALL,
    ) -> None:
        command = self._argv(argv, profiles)
        process.stream(command, doing=doing, on_line=on_line, options=self._options())

    def _capture(self, argv: list[str], doing: str, profiles: Sequence[str] = _ALL) -> str:
        command = self._argv(argv, profiles)
        return process.capture(command, doing=doing, options=self._options())

    def _argv(self, argv: Sequence[str], profiles: Sequence[str] = _ALL) -> list[str]:
        files = [word for file in self.files for word in ("--file", file)]
        selected = [word for profile in profiles for word in ("--profile", profile)]
        plain = ["--ansi", "never", "--progress", "plain"]
        return ["docker", "compose", *plain, *files, *selected, *argv]

    def _options(self) -> process.Options:
        # The user's own values would select another project.
        cleared = {name: "" for name in ("COMPOSE_FILE", "COMPOSE_PROFILES") if name in os.environ}
        # It overrides the name in the files, which is for compose by hand.
        project = {**cleared, "COMPOSE_PROJECT_NAME": self.name}
        return process.Options(
            self.folder, {**self.engine.environment, **self.variables, **project}
        )


def _service(container: Mapping[str, Any]) -> Service:
    """A container, from its JSON by `docker compose ps`."""
    published = {int(port["PublishedPort"] or 0) for port in container.get("Publishers") or []}
    return Service(
        name=container["Service"],
        id=container["ID"],
        state=container["State"],
        health=container.get("Health", ""),
        image=container["Image"],
        ports=tuple(sorted(published - {0})),
    )
