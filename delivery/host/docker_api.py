"""The Docker engine: everything asked of it but builds (buildx) and the platform's containers (compose)."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
from docker import errors
from docker.context import ContextAPI
from docker.models.containers import Container
from docker.models.images import Image

from delivery.errors import DeliveryError, EngineError, ForeignError, RegistryError
from delivery.host import dockerd
from delivery.host.firewall import Bridge
from delivery.origin import IDENTITY_USER

__all__ = ["MANAGED", "Engine", "connect", "find", "find_private"]

# The label of what is ours; nothing without it is ever stopped or removed.
MANAGED = "delivery-platform.managed"

_OLDEST = 23
_PING_SECONDS = 5
_WORK_SECONDS = 120


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    environment is what makes the docker command line talk to the same one; oci_layouts says whether its builder can write
    an OCI layout, which needs the containerd image store.
    """

    client: docker.DockerClient
    address: str
    version: str
    oci_layouts: bool
    environment: Mapping[str, str]

    @property
    def is_private(self) -> bool:
        """Whether it is the one that we start ourselves."""
        return self.address == dockerd.address()

    def describe(self) -> str:
        """One line for people."""
        store = "containerd" if self.oci_layouts else "classic"
        return f"{'private ' if self.is_private else ''}Docker {self.version} at {self.address}, {store} image store"

    def image_labels(self, reference: str) -> dict[str, str] | None:
        """The labels of an image in the engine, or None when it is not there."""
        with _asking(f"look for the image {reference}"):
            try:
                image = self.client.images.get(reference)
            except errors.ImageNotFound:
                return None
        return dict(image.labels)

    def image_digests(self, reference: str) -> list[str]:
        """The references by digest that the engine knows an image by, as registries have it."""
        with _asking(f"look for the image {reference}"):
            return list(self.client.images.get(reference).attrs.get("RepoDigests") or ())

    def tag(self, reference: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        with _asking(f"tag {reference} as {repository}:{tag}"):
            self.client.images.get(reference).tag(repository, tag)

    def pull(
        self,
        reference: str,
        on_line: Callable[[str], None],
        *,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Pull an image; raise RegistryError, with the engine's own reason, when it cannot.

        login is (user, password), as registry.login has it; without one the Docker config is asked.
        """
        with _asking(f"pull {reference}"):
            stream = self.client.api.pull(
                reference, stream=True, decode=True, auth_config=_auth(login)
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
        """Push a tagged image and return the digest that the engine says it sent.

        docker-py's push never raises by itself: the registry's refusal is one line of the stream.
        """
        digest = ""
        with _asking(f"push {reference}"):
            stream = self.client.api.push(
                reference, stream=True, decode=True, auth_config=_auth(login)
            )
            for line in _messages(stream, f"push {reference}"):
                on_line(line)
                if found := re.search(r"digest: (sha256:[0-9a-f]{64})", line):
                    digest = found[1]
        if not digest:
            raise RegistryError(
                f"push {reference}: the engine ended the push without naming a digest",
                hint="the engine's own log says more; then push again",
                retriable=True,
            )
        return digest

    def import_root(self, tar: Path, reference: str, labels: Mapping[str, str]) -> None:
        """Make an image of a root file system in a tar archive; its command is bash, as the published Debian's is."""
        repository, _, tag = reference.rpartition(":")
        changes = ['CMD ["bash"]', *(f"LABEL {name}={value}" for name, value in labels.items())]
        with _asking(f"import {tar.name} as {reference}"), tar.open("rb") as content:
            answer = self.client.api.import_image_from_data(
                content, repository=repository, tag=tag, changes=changes
            )
        if "error" in str(answer):
            raise EngineError(
                f"import {tar.name} as {reference}: {answer}", hint="see the engine's log"
            )

    def container(self, name: str) -> Container | None:
        """A container by its name, or None."""
        with _asking(f"look for the container {name}"):
            try:
                return self.client.containers.get(name)
            except errors.NotFound:
                return None

    def run(
        self,
        image: str,
        name: str,
        *,
        port: tuple[int, int],
        volume: tuple[str, str],
        environment: Mapping[str, str],
    ) -> None:
        """Start a container of ours in the background.

        port is (in the container, on the host's loopback), volume (its name, where it is mounted), which is made if need be.
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

    def once(
        self,
        image: str,
        argv: Sequence[str],
        *,
        network: str,
        capabilities: Sequence[str],
        volumes: Mapping[str, str] | None = None,
    ) -> str:
        """Run one command in a container that is gone afterwards; what it prints. volumes has where each is mounted."""
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
        """The containers with a label ("name=value"), running or not, by name."""
        with _asking(f"list the containers labelled {label}"):
            found = self.client.containers.list(
                all=True, filters={"label": label}, ignore_removed=True
            )
        return sorted(found, key=lambda one: one.name or "")

    def prune_builds(self, days: int) -> int:
        """Remove what builds left and none used for so many days; the bytes that are free then."""
        with _asking("remove old build cache"):
            done = self.client.api.prune_builds(filters={"until": f"{days * 24}h"}, all=True)
        return int(done.get("SpaceReclaimed") or 0)

    def unused_images(self, repositories: Collection[str]) -> list[str]:
        """The ids of images that have no tag, no container, and no name but in these repositories."""
        with _asking("look for old images"):
            used = {
                one.image.id
                for one in self.client.containers.list(all=True, ignore_removed=True)
                if one.image
            }
            found = [one for one in self.client.images.list() if _is_of(one, repositories)]
        return [str(one.id) for one in found if one.id not in used]

    def remove_images(self, ids: Iterable[str]) -> None:
        """Remove images, by every name that they have."""
        with _asking("remove old images"):
            for one in ids:
                self.client.images.remove(one, force=True)

    def bridges(self) -> list[Bridge]:
        """The bridges of its networks."""
        with _asking("list the engine's networks"):
            networks = self.client.networks.list(filters={"driver": "bridge"})
        return sorted((_bridge(one.attrs) for one in networks), key=lambda one: one.interface)

    def volumes(self, label: str) -> list[str]:
        """The names of the volumes with a label ("name=value")."""
        with _asking(f"list the volumes labelled {label}"):
            return sorted(one.name for one in self.client.volumes.list(filters={"label": label}))

    def execute(self, name: str, argv: Sequence[str]) -> str:
        """Run a command inside a container; what it prints. Raises EngineError when it exits with anything but 0."""
        doing = f"run {argv[0]} in {name}"
        with _asking(doing):
            code, printed = self.client.containers.get(name).exec_run(list(argv))
        said = cast("bytes", printed).decode(errors="replace")
        if code:
            raise EngineError(
                f"{doing}: it exited with {code}: {said.strip()}",
                hint=f"`docker logs {name}` says more",
            )
        return said

    def start(self, name: str) -> None:
        """Start a container that has stopped."""
        with _asking(f"start {name}"):
            self.client.containers.get(name).start()

    def stop(self, name: str) -> None:
        """Stop a container of ours, which stays and can be started again. Somebody else's is an error."""
        with _asking(f"stop {name}"):
            container = self.client.containers.get(name)
        _only_ours(f"stop the container {name}", container.labels)
        with _asking(f"stop {name}"):
            container.stop()

    def has_file(self, name: str, path: str) -> bool:
        """Whether a container, running or not, has this file."""
        with _asking(f"look for {path} in {name}"):
            try:
                self.client.containers.get(name).get_archive(path)
            except errors.NotFound:
                return False
        return True

    def read_files(self, name: str, folder: str) -> dict[str, bytes]:
        """The files in a folder of a container, running or not; none where it is not there."""
        with _asking(f"read {folder} in {name}"):
            try:
                chunks, _ = self.client.containers.get(name).get_archive(folder)
            except errors.NotFound:
                return {}
            content = io.BytesIO(b"".join(chunks))
        with tarfile.open(fileobj=content) as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {path: file.read() for path, file in opened.items() if file}

    def join(self, network: str, name: str) -> bool:
        """Connect a container to a network; say whether it was not connected before."""
        with _asking(f"connect {name} to the network {network}"):
            if network in self.client.containers.get(name).attrs["NetworkSettings"]["Networks"]:
                return False
            self.client.networks.get(network).connect(name)
        return True

    def note(self, name: str, labels: Mapping[str, str]) -> None:
        """Leave a note of ours with the engine: labels on an empty volume, which outlive what they tell of."""
        with _asking(f"make the volume {name}"):
            self.client.volumes.create(name, labels={MANAGED: "true", **labels})

    def noted(self, name: str) -> dict[str, str] | None:
        """The labels of a note of ours, or None where there is none."""
        with _asking(f"look for the volume {name}"):
            try:
                labels = dict(self.client.volumes.get(name).attrs.get("Labels") or {})
            except errors.NotFound:
                return None
        return labels if labels.get(MANAGED) == "true" else None

    def memory(self) -> int:
        """How many bytes of memory the engine's machine has."""
        with _asking("ask the Docker engine what it is"):
            return int(self.client.info().get("MemTotal", 0))

    def remove(self, name: str) -> bool:
        """Stop and remove a container of ours; say whether it was there. Somebody else's is an error."""
        container = self.container(name)
        if container is None:
            return False
        _only_ours(f"remove the container {name}", container.labels)
        with _asking(f"remove {name}"):
            container.remove(force=True, v=True)
        return True

    def remove_volume(self, name: str) -> bool:
        """Remove a volume of ours; say whether it was there. Somebody else's is an error."""
        with _asking(f"remove the volume {name}"):
            try:
                volume = self.client.volumes.get(name)
            except errors.NotFound:
                return False
            _only_ours(f"remove the volume {name}", volume.attrs.get("Labels") or {})
            volume.remove()
        return True

    def publishers(self) -> dict[int, tuple[str, int]]:
        """Who publishes each host port: a running container's name, and its own port."""
        with _asking("list what containers publish"):
            containers = self.client.containers.list(
                ignore_removed=True
            )  # somebody else's may just go
        return {
            int(binding["HostPort"]): (container.name or "", int(inside.partition("/")[0]))
            for container in containers
            for inside, bindings in container.ports.items()
            for binding in bindings or ()
        }


def find() -> Engine | None:
    """The engine that DOCKER_HOST, the Docker context or our private one names, or None when none answers."""
    told = os.environ.get("DOCKER_HOST")
    if told and told != dockerd.address():
        return _told(told)
    # Who exported the private engine's address may have stopped it since: that is no reason to give up.
    return (None if told else _of_context()) or find_private()


def _told(host: str) -> Engine:
    """The engine of DOCKER_HOST: who names one means that one, so another is no answer."""
    found = _answering(host, lambda: docker.from_env(timeout=_PING_SECONDS))
    if not found:
        raise EngineError(
            f"ask the Docker engine at DOCKER_HOST={host}: it does not answer",
            hint="start it, or unset DOCKER_HOST to let this project find or start one",
        )
    return connect(found, host, {"BUILDX_BUILDER": "default"})


def _of_context() -> Engine | None:
    context = ContextAPI.get_current_context()
    if context is None:
        raise EngineError(
            "read the current Docker context: the Docker config names one that does not exist",
            hint="`docker context ls` shows those there are, `docker context use default` chooses one",
        )
    host = context.Host or ""
    found = _answering(
        host,
        lambda: docker.DockerClient(base_url=host, tls=context.TLSConfig, timeout=_PING_SECONDS),
    )
    return connect(found, host, {"BUILDX_BUILDER": context.name}) if found else None


def find_private() -> Engine | None:
    """The engine that we start ourselves, or None when it does not answer."""
    address = dockerd.address()
    found = _answering(
        address, lambda: docker.DockerClient(base_url=address, timeout=_PING_SECONDS)
    )
    environment = {"DOCKER_HOST": address, "DOCKER_CONTEXT": "", "BUILDX_BUILDER": "default"}
    return connect(found, address, environment) if found else None


def _answering(host: str, make: Callable[[], docker.DockerClient]) -> docker.DockerClient | None:
    """The client that make makes, if somebody answers it at this host."""
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return None  # docker-py would ask, and leave the socket that it asked with open
    try:
        client = make()
        client.ping()
    except (errors.DockerException, OSError):
        return None
    client.api.timeout = _WORK_SECONDS
    return client


def connect(client: docker.DockerClient, address: str, environment: Mapping[str, str]) -> Engine:
    """Look at an engine that answers; raise EngineError when it is too old."""
    with _asking("ask the Docker engine what it is"):
        info = client.info()
    version = str(info.get("ServerVersion", "0"))
    if int(re.sub(r"\D.*", "", version) or 0) < _OLDEST:
        raise EngineError(
            f"use the Docker engine at {address}: it is {version}, and BuildKit as we use it came with {_OLDEST}",
            hint=f"upgrade it to {_OLDEST} or newer",
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


def _is_of(image: Image, repositories: Collection[str]) -> bool:
    known = {one.partition("@")[0] for one in image.attrs.get("RepoDigests") or ()}
    return not image.tags and bool(known) and known <= set(repositories)


def _bridge(network: Mapping[str, Any]) -> Bridge:
    named = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    subnets = [one["Subnet"] for one in network["IPAM"].get("Config") or () if "Subnet" in one]
    return Bridge(named or f"br-{network['Id'][:12]}", tuple(subnets))


def _only_ours(doing: str, labels: Mapping[str, str]) -> None:
    if labels.get(MANAGED) != "true":
        raise ForeignError(
            f"{doing}: it is not this project's", hint="rename it, or remove it by hand"
        )


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """Turn docker-py's errors into ours, with the action under way."""
    try:
        yield
    except DeliveryError:
        raise
    except errors.APIError as error:
        raise EngineError(
            f"{doing}: the Docker engine answered: {error.explanation or error}",
            hint=_hint(str(error.explanation)),
        ) from error
    except (errors.DockerException, OSError) as error:
        raise EngineError(
            f"{doing}: the Docker engine does not answer: {error}",
            hint="`./run inv engine.status` says what there is",
        ) from error


def _hint(reason: str) -> str:
    if "no space left" in reason:
        return "free disk space: `docker system df` shows what takes it, `./run inv cache.clean` frees this project's"
    return "`./run inv engine.status` says which engine this is; its log says more"


def _messages(stream: Iterator[dict[str, Any]], doing: str) -> Iterator[str]:
    """The lines of a pull's or push's progress; its error line raises RegistryError."""
    for message in stream:
        if reason := message.get("error"):
            status = re.search(r"\b(\d{3}) ", str(reason))
            raise RegistryError(
                f"{doing}: {reason}",
                hint="check the name and the login (`docker login`)",
                retriable=bool(status and status[1].startswith("5")),
            )
        yield f"{message.get('status', '')} {message.get('id', '')} {message.get('progress', '')}"
