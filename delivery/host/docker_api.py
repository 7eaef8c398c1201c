"""The Docker engine's API, for everything but builds (buildx) and the platform (compose)."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import docker
from docker import errors
from docker.context import ContextAPI
from docker.models.containers import Container
from docker.models.images import Image

from delivery.errors import DeliveryError, EngineError, ForeignError, RegistryError
from delivery.host import dockerd
from delivery.host.bridges import Bridge
from delivery.origin import IDENTITY_USER

__all__ = ["FREE_DISK_SPACE", "MANAGED", "Engine", "connect", "find", "find_private"]

# The label of this project's containers and volumes; no other is ever stopped or removed.
MANAGED = "delivery-platform.managed"

# The hint for an engine whose disk is full.
FREE_DISK_SPACE = (
    "free disk space: `docker system df` shows what takes it, `docker builder prune` frees the"
    " build cache, `./run inv cache.clean` this project's cache"
)
_OLDEST = 23
_PING_SECONDS = 5
_WORK_SECONDS = 120
_STOP_SECONDS = 30  # between SIGTERM and SIGKILL
_NO_HEALTH = ("none", "unknown")  # of a container without a health check: the engine's, docker-py's


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers."""

    client: docker.DockerClient
    address: str
    version: str
    oci_layouts: bool  # whether builds can write these, as with the containerd image store
    environment: Mapping[str, str]  # with which the docker command line uses the same engine

    @property
    def is_private(self) -> bool:
        """Whether this project has started it."""
        return self.address == dockerd.address()

    def describe(self) -> str:
        """The engine in one line, for people."""
        private = "private " if self.is_private else ""
        store = "containerd" if self.oci_layouts else "classic"
        return f"{private}Docker {self.version} at {self.address}, {store} image store"

    def image_labels(self, reference: str) -> dict[str, str] | None:
        """The labels of an image, or None if the engine does not have it."""
        with _asking(f"look for the image {reference}"):
            try:
                image = self.client.images.get(reference)
            except errors.ImageNotFound:
                return None
        return dict(image.labels)

    def image_digests(self, reference: str) -> list[str]:
        """The references NAME@DIGEST under which registries have an image."""
        with _asking(f"look for the image {reference}"):
            return list(self.client.images.get(reference).attrs.get("RepoDigests") or ())

    def image_digest(self, reference: str) -> str:
        """The digest under which registries have an image, else that of the engine alone."""
        with _asking(f"look for the image {reference}"):
            attributes = self.client.images.get(reference).attrs
        published = [name.partition("@")[2] for name in attributes.get("RepoDigests") or ()]
        return str(min(published, default=attributes["Id"]))

    def save(self, reference: str, archive: Path) -> None:
        """Write an image as `docker save` does."""
        with _asking(f"save {reference}"), archive.open("wb") as file:
            file.writelines(self.client.images.get(reference).save())

    def tag(self, reference: str, repository: str, tag: str) -> None:
        """Give an image a further name."""
        with _asking(f"tag {reference} as {repository}:{tag}"):
            self.client.images.get(reference).tag(repository, tag)

    def pull(
        self,
        reference: str,
        on_line: Callable[[str], None],
        *,
        login: tuple[str, str] | None = None,
        platform: str | None = None,
    ) -> None:
        """Pull an image; raise RegistryError with the engine's reason if that fails.

        login is (user, password); without it the engine reads the Docker config. platform: by
        default the engine's.
        """
        with _asking(f"pull {reference}"):
            stream = self.client.api.pull(
                reference, stream=True, decode=True, auth_config=_auth(login), platform=platform
            )
            for line in _messages(stream, f"pull {reference}"):
                on_line(line)

    def push(
        self,
        reference: str,
        on_line: Callable[[str], None],
        *,
        login: tuple[str, str] | None = None,
    ) -> str:
        """Push a tagged image and return the digest that the engine reports.

        docker-py does not raise for a refusal, which is a line of the stream.
        """
        digest = ""
        with _asking(f"push {reference}"):
            stream = self.client.api.push(
                reference, stream=True, decode=True, auth_config=_auth(login)
            )
            for line in _messages(stream, f"push {reference}"):
                on_line(line)
                if match := re.search(r"digest: (sha256:[0-9a-f]{64})", line):
                    digest = match[1]
        if not digest:
            raise RegistryError(
                f"cannot push {reference}: the engine named no digest",
                hint="see the engine's log, then push again",
                retriable=True,
            )
        return digest

    def import_root(self, tar: Path, reference: str, labels: Mapping[str, str]) -> None:
        """Make an image of a root file system; its command is bash, like that of Debian's image."""
        repository, _, tag = reference.rpartition(":")
        changes = ['CMD ["bash"]', *(f"LABEL {name}={value}" for name, value in labels.items())]
        with _asking(f"import {tar.name} as {reference}"), tar.open("rb") as content:
            answer = self.client.api.import_image_from_data(
                content, repository=repository, tag=tag, changes=changes
            )
        if "error" in str(answer):
            raise EngineError(
                f"cannot import {tar.name} as {reference}: {answer}", hint="see the engine's log"
            )

    def run(
        self,
        image: str,
        name: str,
        *,
        port: tuple[int, int],
        volume: tuple[str, str],
        environment: Mapping[str, str],
    ) -> None:
        """Start a container of this project in the background.

        port is (container's, host's on the loopback address), volume (name, mount point).
        """
        options: dict[str, Any] = {
            "name": name,
            "labels": {MANAGED: "true"},
            "restart_policy": {"Name": "unless-stopped"},
            "ports": {f"{port[0]}/tcp": ("127.0.0.1", port[1])},
            "volumes": {volume[0]: {"bind": volume[1], "mode": "rw"}},
            "environment": dict(environment),
        }
        with _asking(f"start {name}"):
            self.client.volumes.create(volume[0], labels={MANAGED: "true"})
            self.client.containers.run(image, detach=True, **options)

    def run_once(
        self,
        image: str,
        argv: Sequence[str],
        *,
        network: str,
        capabilities: Sequence[str],
        volumes: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command in a container that is removed afterwards; return its output.

        volumes maps names to mount points.
        """
        with _asking(f"run {argv[0]} in a container of {image}"):
            printed: bytes = self.client.containers.run(
                image,
                list(argv[1:]),
                entrypoint=[argv[0]],
                network_mode=network,
                cap_add=list(capabilities),
                labels={MANAGED: "true"},
                volumes={
                    name: {"bind": path, "mode": "rw"} for name, path in (volumes or {}).items()
                },
                remove=True,
            )
        return printed.decode(errors="replace")

    def labelled(self, label: str) -> list[Container]:
        """The containers, running or not, with a label ("name=value"), sorted by name."""
        with _asking(f"list the containers labelled {label}"):
            containers = self.client.containers.list(
                all=True, filters={"label": label}, ignore_removed=True
            )
        return sorted(containers, key=lambda container: container.name or "")

    def prune_builds(self, days: int) -> int:
        """Remove build cache that was not used for so many days; return the bytes that it took."""
        with _asking("remove old build cache"):
            answer = self.client.api.prune_builds(filters={"until": f"{days * 24}h"}, all=True)
        return int(answer.get("SpaceReclaimed") or 0)

    def unused_images(self, repositories: Collection[str]) -> list[str]:
        """The ids of images without tag and container that only these repositories name."""
        with _asking("look for old images"):
            containers = self.client.containers.list(all=True, ignore_removed=True)
            images = self.client.images.list()
        # Not `container.image`: docker-py asks for it, and fails when the image is removed already.
        used = {container.attrs["Image"] for container in containers}
        return [
            str(image.id)
            for image in images
            if image.id not in used and _is_only_in(image, repositories)
        ]

    def remove_images(self, ids: Iterable[str]) -> None:
        """Remove images with all their names."""
        with _asking("remove old images"):
            for image in ids:
                self.client.images.remove(image, force=True)

    def bridges(self) -> list[Bridge]:
        """The bridges of the engine's networks."""
        with _asking("list the engine's networks"):
            networks = self.client.networks.list(filters={"driver": "bridge"})
        return sorted(
            (_bridge(network.attrs) for network in networks), key=lambda bridge: bridge.interface
        )

    def volumes(self, label: str) -> list[str]:
        """The names of the volumes with a label ("name=value")."""
        with _asking(f"list the volumes labelled {label}"):
            volumes = self.client.volumes.list(filters={"label": label})
        return sorted(volume.name for volume in volumes)

    def execute(self, name: str, argv: Sequence[str]) -> str:
        """Run a command in a running container and return its output; raise if it fails."""
        doing = f"run {argv[0]} in {name}"
        with _asking(doing):
            code, printed = self.client.containers.get(name).exec_run(list(argv))
        output = cast("bytes", printed).decode(errors="replace")
        if code:
            raise EngineError(
                f"cannot {doing}: it exited with {code}",
                details=output.strip(),
                hint=f"see `docker logs {name}`",
            )
        return output

    def start(self, name: str) -> None:
        """Start a stopped container."""
        with _asking(f"start {name}"):
            self.client.containers.get(name).start()

    def stop(self, name: str) -> None:
        """Stop a container of this project without removing it; raise ForeignError for another."""
        with _asking(f"stop {name}"):
            self._own(name, "stop").stop()

    def restart(self, name: str) -> None:
        """Stop a container of this project as its image says, and start it again."""
        with _asking(f"restart {name}"):
            self._own(name, "restart").restart(timeout=_STOP_SECONDS)

    def mounts(self, name: str) -> set[str]:
        """The mount points of a container."""
        with _asking(f"look at {name}"):
            attributes = self.client.containers.get(name).attrs
        return {str(mount["Destination"]) for mount in attributes["Mounts"]}

    def new_lines(self, name: str, since: str) -> Iterator[tuple[str, str]]:
        """The lines of a container's log after a time, each with its time, until it stops.

        Times are RFC 3339's with nanoseconds, as the engine has them.
        """
        with _asking(f"follow the log of {name}"):
            container = self.client.containers.get(name)
            # The engine's own filter takes whole seconds.
            second = int(datetime.fromisoformat(since[:19] + "+00:00").timestamp())
            stream = container.logs(stream=True, follow=True, timestamps=True, since=second)
            for line in _split(stream):
                time, _, text = line.partition(" ")
                if time > since:
                    yield time, text

    def restarts(self, name: str) -> int:
        """How often the engine has started a container again after it ended by itself."""
        with _asking(f"look at {name}"):
            return int(self.client.containers.get(name).attrs["RestartCount"])

    def is_healthy(self, name: str) -> bool:
        """Whether a container runs, and its health check, if any, has passed since its start."""
        with _asking(f"look at {name}"):
            container = self.client.containers.get(name)
        return container.status == "running" and container.health in ("healthy", *_NO_HEALTH)

    def has_file(self, name: str, path: str) -> bool:
        """Whether a container, running or not, has a file."""
        with _asking(f"look for {path} in {name}"):
            try:
                self.client.containers.get(name).get_archive(path)
            except errors.NotFound:
                return False
        return True

    def read_files(self, name: str, folder: str) -> dict[str, bytes]:
        """The files in a folder of a container, running or not; empty without the folder."""
        with _asking(f"read {folder} in {name}"):
            try:
                chunks, _ = self.client.containers.get(name).get_archive(folder)
            except errors.NotFound:
                return {}
            content = io.BytesIO(b"".join(chunks))
        with tarfile.open(fileobj=content) as archive:
            files = {member.name: archive.extractfile(member) for member in archive}
            return {path: file.read() for path, file in files.items() if file}

    def join(self, network: str, name: str) -> bool:
        """Connect a container to a network; return False if it was connected already."""
        with _asking(f"connect {name} to the network {network}"):
            if network in self.client.containers.get(name).attrs["NetworkSettings"]["Networks"]:
                return False
            self.client.networks.get(network).connect(name)
        return True

    def write_note(self, name: str, labels: Mapping[str, str]) -> None:
        """Store labels in the engine, on an empty volume: they outlive containers and networks."""
        with _asking(f"create the volume {name}"):
            self.client.volumes.create(name, labels={MANAGED: "true", **labels})

    def read_note(self, name: str) -> dict[str, str] | None:
        """The labels that `write_note` stored, or None."""
        with _asking(f"look for the volume {name}"):
            try:
                labels = dict(self.client.volumes.get(name).attrs.get("Labels") or {})
            except errors.NotFound:
                return None
        return labels if labels.get(MANAGED) == "true" else None

    def memory(self) -> int:
        """The bytes of memory of the engine's machine."""
        with _asking("ask the Docker engine for its memory"):
            return int(self.client.info().get("MemTotal", 0))

    def remove(self, name: str) -> bool:
        """Stop and remove a container of this project; return False if it does not exist.

        Raises ForeignError for a container of another project.
        """
        with _asking(f"remove {name}"):
            try:
                self._own(name, "remove").remove(force=True, v=True)
            except errors.NotFound:
                return False
        return True

    def _own(self, name: str, verb: str) -> Container:
        container = self.client.containers.get(name)
        _check_managed(f"{verb} the container {name}", container.labels)
        return container

    def remove_volume(self, name: str) -> bool:
        """Remove a volume of this project, in the way of `remove`."""
        with _asking(f"remove the volume {name}"):
            try:
                volume = self.client.volumes.get(name)
            except errors.NotFound:
                return False
            _check_managed(f"remove the volume {name}", volume.attrs.get("Labels") or {})
            volume.remove()
        return True

    def publishers(self) -> dict[int, tuple[str, int]]:
        """The running container behind each published host port: its name and its port."""
        with _asking("list what containers publish"):
            # Containers of others may be removed meanwhile.
            containers = self.client.containers.list(ignore_removed=True)
        return {
            int(binding["HostPort"]): (container.name or "", int(inside.partition("/")[0]))
            for container in containers
            for inside, bindings in container.ports.items()
            for binding in bindings or ()
        }


def find() -> Engine | None:
    """The engine of DOCKER_HOST, of the Docker context, or the private engine; None without."""
    host = os.environ.get("DOCKER_HOST")
    if host and host != dockerd.address():
        return _engine_of_host(host)
    # DOCKER_HOST may still name the private engine after that was stopped.
    return (None if host else _engine_of_context()) or find_private()


def _engine_of_host(host: str) -> Engine:
    """The engine of DOCKER_HOST; no other replaces it."""
    client = _connected(host, lambda: docker.from_env(timeout=_PING_SECONDS))
    if not client:
        raise EngineError(
            f"cannot use the Docker engine at DOCKER_HOST={host}: it does not answer",
            hint="start it, or unset DOCKER_HOST to use or start another",
        )
    return connect(client, host, {"BUILDX_BUILDER": "default"})


def _engine_of_context() -> Engine | None:
    context = ContextAPI.get_current_context()
    if context is None:
        raise EngineError(
            "cannot read the current Docker context: the Docker config names an unknown context",
            hint="choose another of `docker context ls`, as in `docker context use default`",
        )
    host = context.Host or ""
    client = _connected(
        host,
        lambda: docker.DockerClient(base_url=host, tls=context.TLSConfig, timeout=_PING_SECONDS),
    )
    return connect(client, host, {"BUILDX_BUILDER": context.name}) if client else None


def find_private() -> Engine | None:
    """The engine that this project starts, or None if it does not answer."""
    address = dockerd.address()
    client = _connected(
        address, lambda: docker.DockerClient(base_url=address, timeout=_PING_SECONDS)
    )
    environment = {"DOCKER_HOST": address, "DOCKER_CONTEXT": "", "BUILDX_BUILDER": "default"}
    return connect(client, address, environment) if client else None


def _connected(host: str, make: Callable[[], docker.DockerClient]) -> docker.DockerClient | None:
    """The client that `make` returns, if an engine answers it."""
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return None  # docker-py leaks its own socket when it finds none
    try:
        client = make()
        client.ping()
    except (errors.DockerException, OSError):
        return None
    client.api.timeout = _WORK_SECONDS
    return client


def connect(client: docker.DockerClient, address: str, environment: Mapping[str, str]) -> Engine:
    """The engine that answers a client; raise EngineError if it is too old."""
    with _asking("ask the Docker engine for its version"):
        info = client.info()
    version = str(info.get("ServerVersion", "0"))
    if int(re.sub(r"\D.*", "", version) or 0) < _OLDEST:
        raise EngineError(
            f"cannot use the Docker engine at {address}: it is {version}, older than {_OLDEST}",
            hint=f"upgrade it to {_OLDEST} or newer, which has BuildKit",
        )
    status = [tuple(pair) for pair in info.get("DriverStatus") or []]
    return Engine(
        client=client,
        address=address,
        version=version,
        oci_layouts=("driver-type", "io.containerd.snapshotter.v1") in status,
        environment=dict(environment),
    )


def _auth(login: tuple[str, str] | None) -> dict[str, str] | None:
    if not login:
        return None
    user, password = login
    return (
        {"identitytoken": password}
        if user == IDENTITY_USER
        else {"username": user, "password": password}
    )


def _is_only_in(image: Image, repositories: Collection[str]) -> bool:
    names = {name.partition("@")[0] for name in image.attrs.get("RepoDigests") or ()}
    return not image.tags and bool(names) and names <= set(repositories)


def _bridge(network: Mapping[str, Any]) -> Bridge:
    name = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    configs = network["IPAM"].get("Config") or ()
    subnets = [config["Subnet"] for config in configs if "Subnet" in config]
    return Bridge(name or f"br-{network['Id'][:12]}", tuple(subnets))


def _check_managed(doing: str, labels: Mapping[str, str]) -> None:
    if labels.get(MANAGED) != "true":
        raise ForeignError(
            f"cannot {doing}: it is not this project's", hint="rename it, or remove it by hand"
        )


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """Raise docker-py's errors as EngineError: "cannot {doing}: …"."""
    try:
        yield
    except DeliveryError:
        raise
    except errors.APIError as error:
        raise EngineError(
            f"cannot {doing}: the Docker engine answered: {error.explanation or error}",
            hint=_hint(str(error.explanation)),
        ) from error
    except (errors.DockerException, OSError) as error:
        raise EngineError(
            f"cannot {doing}: the Docker engine does not answer: {error}",
            hint="see `./run inv engine.status`",
        ) from error


def _split(stream: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream of chunks."""
    rest = b""
    for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def _hint(reason: str) -> str:
    if "no space left" in reason:
        return FREE_DISK_SPACE
    return "see the log of the engine that `./run inv engine.status` names"


def _messages(stream: Iterator[dict[str, Any]], doing: str) -> Iterator[str]:
    """The lines of the progress of a pull or push; raise RegistryError for an error line."""
    for message in stream:
        if reason := message.get("error"):
            status = re.search(r"\b(\d{3}) ", str(reason))
            raise RegistryError(
                f"cannot {doing}: {reason}",
                hint="check the name and the login (`docker login`)",
                retriable=bool(status and status[1].startswith("5")),
            )
        yield f"{message.get('status', '')} {message.get('id', '')} {message.get('progress', '')}"
