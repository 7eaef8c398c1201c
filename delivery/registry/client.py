"""The image registry over HTTP: what it holds, and pushes that are proved by reading back.

The protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

import requests

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.http import (
    TIMEOUT_SECONDS,
    Answer,
    Conversation,
    Request,
    is_reachable,
    login,
    missing_login,
    url_of,
    within,
)
from delivery.registry.oci_layout import MANIFEST, Manifest

__all__ = [
    "Artifact",
    "Blob",
    "Layer",
    "Manifest",
    "Referrer",
    "Registry",
    "is_reachable",
    "login",
    "missing_login",
]

_INDEX = "application/vnd.oci.image.index.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_NEXT = re.compile(r'<([^>]+)>; *rel="?next"?')
# What registries whose tags are immutable answer to a PUT on one that is there; each has its own way.
_IMMUTABLE = {400, 403, 409, 412}
_NO_REFERRERS_API = (400, 404, 405)


@dataclass(frozen=True)
class Layer:
    """A layer of an image: its digest, and its bytes as pushed (packed) and as the sum of its files' sizes (unpacked)."""

    digest: str
    packed: int
    unpacked: int


@dataclass(frozen=True)
class Blob:
    """A part of an artefact: its media type, its bytes, and what its descriptor is annotated with."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What it is known by."""
        return _sha256(self.content)

    @property
    def descriptor(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return _descriptor(self.media_type, self.content, self.annotations)


@dataclass(frozen=True)
class Artifact:
    """An OCI artefact to push: the same content has the same digest.

    Without a layer or a config the specification's empty one stands in for it. subject is the
    digest of a manifest in the same repository that it is attached to.
    """

    artifact_type: str
    layers: Sequence[Blob]
    config: Blob | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""

    @property
    def parts(self) -> tuple[Blob, ...]:
        """Its config, then its layers."""
        empty = Blob(_EMPTY, b"{}")
        return self.config or empty, *(self.layers or (empty,))

    @property
    def type(self) -> str:
        """What a list of attached manifests calls it: its own type, else its config's."""
        return self.artifact_type or (self.config.media_type if self.config else "")

    def manifest(self, subject: Mapping[str, Any] | None) -> bytes:
        """The bytes of its manifest; subject is the descriptor of what it is attached to."""
        config, *layers = self.parts
        own_type = (
            "" if self.config and self.artifact_type == config.media_type else self.artifact_type
        )
        return _compact(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                **({"artifactType": own_type} if own_type else {}),
                "config": config.descriptor,
                "layers": [layer.descriptor for layer in layers],
                **({"subject": subject} if subject else {}),
                **(
                    {"annotations": dict(sorted(self.annotations.items()))}
                    if self.annotations
                    else {}
                ),
            }
        )


@dataclass(frozen=True)
class Referrer:
    """What is attached to a manifest (an SBOM, a signature): the digest, type, size and annotations of its own manifest."""

    digest: str
    artifact_type: str
    size: int
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class _Upload:
    """A blob to upload; open gives its bytes, anew for each attempt."""

    digest: str
    size: int
    open: Callable[[], BinaryIO]


class Registry:
    """One registry, host[:port][/path]; every method names repositories by their whole name, the address included.

    Refusals, faults that outlast the retries, and content that is not what was sent raise RegistryError. timeout is the
    seconds to connect, and between two pieces of an answer.
    """

    def __init__(
        self,
        address: str,
        *,
        pause: Callable[[float], None] = time.sleep,
        timeout: tuple[float, float] = TIMEOUT_SECONDS,
    ) -> None:
        self.address = address
        self._http = Conversation(address, pause=pause, timeout=timeout)
        self._without_referrers: set[str] = set()

    @property
    def requests(self) -> int:
        """The requests made so far, those for tokens among them."""
        return self._http.requests

    @property
    def sent(self) -> int:
        """The bytes of the bodies sent so far."""
        return self._http.sent

    @property
    def received(self) -> int:
        """The bytes of the bodies received so far."""
        return self._http.received

    def digest(self, repository: str, reference: str) -> str:
        """The digest of a manifest that the registry holds under a tag or digest, or "" when it holds none."""
        doing = f"look for {_spelled(repository, reference)}"
        answer = self._http.ask(
            Request(
                "HEAD",
                self._path(repository, "manifests", reference),
                repository,
                doing,
                expect=(200, 404),
            )
        )
        if answer.status == requests.codes.not_found:
            return ""
        if found := answer.headers.get("Docker-Content-Digest"):
            return found
        return _sha256(self._manifest(repository, reference, doing))

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none when the registry does not know it."""
        doing, url = (
            f"list the tags of {repository}",
            f"{url_of(self.address)}/v2/{within(repository)}/tags/list",
        )
        found: list[str] = []
        for page in self._pages(url, repository, doing, (404,)) or ():
            found += page.get("tags") or []
        return found

    def fetch(self, repository: str, reference: str) -> Manifest | None:
        """The manifest under a tag or digest, its bytes checked against the digest; None when the registry holds none."""
        doing = f"read {_spelled(repository, reference)}"
        answer = self._http.ask(
            Request(
                "GET",
                self._path(repository, "manifests", reference),
                repository,
                doing,
                expect=(200, 404),
            )
        )
        if answer.status == requests.codes.not_found:
            return None
        told = reference if ":" in reference else answer.headers.get("Docker-Content-Digest", "")
        digest = _sha256(answer.body)
        if told and told != digest:
            raise _not_as_told(doing, told, digest)
        try:
            manifest = json.loads(answer.body)
            media_type = answer.headers.get("Content-Type") or manifest.get("mediaType", MANIFEST)
        except (ValueError, AttributeError) as error:
            raise RegistryError(
                f"{doing}: that is no manifest", hint="see what else answers at this address"
            ) from error
        return Manifest(digest, media_type.partition(";")[0], answer.body, manifest)

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob, checked against its digest."""
        doing = f"read {repository}: blob {digest[7:19]}"
        content = self._http.ask(
            Request("GET", self._path(repository, "blobs", digest), repository, doing)
        ).body
        if _sha256(content) != digest:
            raise _not_as_told(doing, digest, _sha256(content))
        return content

    def referrers(self, repository: str, digest: str) -> list[Referrer]:
        """What is attached to a manifest: as the registry's API says, else as the tag that stands in for it does."""
        if repository not in self._without_referrers:
            url, doing = (
                self._path(repository, "referrers", digest),
                f"list what is attached to {repository}@{digest[:19]}",
            )
            pages = self._pages(url, repository, doing, _NO_REFERRERS_API)
            if pages is not None:
                return [_referrer(one) for page in pages for one in page.get("manifests") or ()]
            self._without_referrers.add(repository)
        return [_referrer(one) for one in self._listed(repository, _fallback(digest))]

    def put_tag(self, repository: str, tag: str, digest: str) -> bool:
        """Give a manifest that the repository holds another tag; whether that was to be done. No blob is moved.

        A tag is never moved from one manifest to another: that is a RegistryError.
        """
        if self._holds(repository, tag, digest):
            return False
        doing = f"tag {repository}@{digest[:19]} as {tag}"
        held = self.fetch(repository, digest)
        if held is None:
            raise RegistryError(
                f"{doing}: the registry holds no {digest}",
                hint="build and push it anew; somebody has deleted it",
            )
        self._put_manifest(repository, tag, held.content, held.media_type)
        return True

    def push_artifact(
        self, repository: str, artifact: Artifact, tag: str = "", *, overwrite: bool = False
    ) -> str:
        """Push an artefact and return its digest, which is all that it is known by without a tag.

        A tag that holds other content is an error, unless overwrite.
        """
        content = self._manifest_of(repository, artifact)
        digest = _sha256(content)
        reference = tag or digest
        existing = self._holds(repository, reference, digest, overwrite=overwrite)
        # A push that was cut off may have left the artefact without attaching it.
        if existing and self._is_attached(repository, artifact.subject, digest):
            return digest
        for blob in {part.digest: part for part in artifact.parts}.values():
            self._push_blob(
                repository,
                _Upload(blob.digest, len(blob.content), partial(io.BytesIO, blob.content)),
            )
        answer = self._put_manifest(repository, reference, content, MANIFEST, overwrite=overwrite)
        if artifact.subject and "OCI-Subject" not in answer.headers:
            entry = {
                **_descriptor(MANIFEST, content, artifact.annotations),
                "artifactType": artifact.type,
            }
            self._http.with_retries(lambda: self._attach(repository, artifact.subject, entry))
        return digest

    def artifact_digest(self, repository: str, artifact: Artifact) -> str:
        """The digest that `push_artifact` would push this as; pushes nothing."""
        return _sha256(self._manifest_of(repository, artifact))

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest, and so every tag of it. One that is not there is well; a registry that deletes nothing is an error.

        The tag that stands in for the list of what is attached to another manifest is not changed.
        """
        doing = f"delete {repository}@{digest[:19]}"
        expect = (200, 202, 404)
        self._http.ask(
            Request(
                "DELETE",
                self._path(repository, "manifests", digest),
                repository,
                doing,
                expect=expect,
            )
        )

    def push_layout(
        self,
        layout: Path,
        repository: str,
        tag: str,
        on_line: Callable[[str], None],
        *,
        mount_from: Sequence[str] = (),
    ) -> str:
        """Push the one image of an OCI layout (https://github.com/opencontainers/image-spec) and return its digest.

        The tag is put last, and then read back: what the registry serves under it must be the bytes that were sent. Blobs that a
        repository of mount_from has are taken over from there, without sending them.
        """
        image = oci_layout.read(layout)
        for part in (*image.manifest["layers"], image.manifest["config"]):
            file = oci_layout.blob(layout, part["digest"])
            upload = _Upload(part["digest"], part["size"], partial(_opened, file))
            self._push_blob(repository, upload, on_line, mount_from)
        self._put_manifest(repository, tag, image.content, image.media_type, overwrite=True)
        return image.digest

    def verify(self, repository: str, tag: str, digest: str) -> None:
        """Read a pushed manifest back; raise RegistryError unless its bytes have this digest."""
        doing = f"read back {_spelled(repository, tag)}"
        held = _sha256(self._manifest(repository, tag, doing))
        if held != digest:
            raise RegistryError(
                f"{doing}: the registry holds {held}, {digest} was sent",
                hint="something else writes to this tag, or the registry is broken; push again once it is settled",
            )

    def layers(self, repository: str, digest: str) -> list[Layer]:
        """The layers of an image, lowest first; reads each of them whole."""
        doing = f"read the layers of {repository}"
        found = []
        for part in json.loads(self._manifest(repository, digest, doing))["layers"]:
            blob = self.blob(repository, part["digest"])
            with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as tar:
                unpacked = sum(member.size for member in tar if member.isreg())
            found.append(Layer(part["digest"], len(blob), unpacked))
        return found

    def _manifest(self, repository: str, reference: str, doing: str) -> bytes:
        return self._http.ask(
            Request("GET", self._path(repository, "manifests", reference), repository, doing)
        ).body

    def _pages(
        self, url: str, repository: str, doing: str, none: Sequence[int]
    ) -> list[Mapping[str, Any]] | None:
        """The pages of a list: a long one comes in several, each with the address of the next. None when none is answered."""
        found: list[Mapping[str, Any]] = []
        while url:
            answer = self._http.ask(Request("GET", url, repository, doing, expect=(200, *none)))
            if answer.status in none:
                return None
            found.append(json.loads(answer.body))
            following = _NEXT.match(answer.headers.get("Link", ""))
            url = urljoin(url, following[1]) if following else ""
        return found

    def _holds(
        self, repository: str, reference: str, digest: str, *, overwrite: bool = False
    ) -> bool:
        """Whether the registry holds this manifest under a tag; raise RegistryError when it holds another."""
        held = self.digest(repository, reference)
        if held not in {"", digest} and not overwrite:
            raise RegistryError(
                f"put {_spelled(repository, reference)}: it is {held} already, and would be {digest}",
                hint="version tags are never overwritten: other content needs another version",
            )
        return held == digest

    def _put_manifest(
        self,
        repository: str,
        reference: str,
        content: bytes,
        media_type: str,
        *,
        overwrite: bool = False,
    ) -> Answer:
        """Put a manifest and read it back. A registry of immutable tags may refuse one that somebody else has just put."""
        answer = self._put(repository, reference, content, media_type, (201, *_IMMUTABLE))
        if answer.status in _IMMUTABLE and not self._holds(
            repository, reference, _sha256(content), overwrite=overwrite
        ):
            raise self._http.refused(f"push {_spelled(repository, reference)}", answer)
        self.verify(repository, reference, _sha256(content))
        return answer

    def _put(
        self,
        repository: str,
        reference: str,
        content: bytes,
        media_type: str,
        expect: Sequence[int] = (201,),
    ) -> Answer:
        return self._http.ask(
            Request(
                "PUT",
                self._path(repository, "manifests", reference),
                repository,
                f"push {_spelled(repository, reference)}",
                data=content,
                headers={"Content-Type": media_type},
                expect=expect,
            )
        )

    def _attach(self, repository: str, subject: str, entry: Mapping[str, Any]) -> None:
        """Add to the list that a tag keeps of what is attached to a manifest.

        Nothing keeps two from changing the list at the same time: who is lost from it adds itself again.
        """
        tag = _fallback(subject)
        listed = self._listed(repository, tag)
        if entry["digest"] not in {one["digest"] for one in listed}:
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*listed, entry]}
            self._put(repository, tag, _compact(index), _INDEX)
            if entry["digest"] not in {one["digest"] for one in self._listed(repository, tag)}:
                raise RegistryError(
                    f"attach to {repository}@{subject[:19]}: the tag {tag} does not keep what is added to it",
                    hint="something else writes to this tag, or the registry is broken; push again once it is settled",
                    retriable=True,
                )

    def _listed(self, repository: str, tag: str) -> list[dict[str, Any]]:
        index = self.fetch(repository, tag)
        return list(index.manifest.get("manifests") or ()) if index else []

    def _is_attached(self, repository: str, subject: str, digest: str) -> bool:
        attached = self.referrers(repository, subject) if subject else ()
        return not subject or digest in {referrer.digest for referrer in attached}

    def _manifest_of(self, repository: str, artifact: Artifact) -> bytes:
        """The bytes of an artefact's manifest; reads the subject, which the repository must hold."""
        if not artifact.subject:
            return artifact.manifest(None)
        subject = self.fetch(repository, artifact.subject)
        if subject is None:
            raise RegistryError(
                f"attach to {repository}@{artifact.subject[:19]}: the registry does not hold it",
                hint="push it before what belongs to it",
            )
        return artifact.manifest(_descriptor(subject.media_type, subject.content, {}))

    def _push_blob(
        self,
        repository: str,
        blob: _Upload,
        on_line: Callable[[str], None] = lambda _line: None,
        mount_from: Sequence[str] = (),
    ) -> None:
        digest, name = blob.digest, f"layer {blob.digest[7:19]}"
        doing = f"push {repository}: {name}"
        if self._has_blob(repository, digest, doing):
            on_line(f"{name} is there")
            return
        for sibling in mount_from:
            if sibling != repository and self._has_blob(sibling, digest, doing):
                if self._mount(repository, digest, sibling, doing):
                    on_line(f"{name} taken over from {sibling}")
                    return
                break
        on_line(f"{name}, {blob.size / 1e6:.1f} MB")

        def upload() -> Answer:
            # A retried upload starts anew: the place given for the first one is spent.
            start = self._path(repository, "blobs", "uploads/")
            place = self._http.once(Request("POST", start, repository, doing, expect=(202,)))
            url = urljoin(start, place.headers["Location"])
            joined = f"{url}{'&' if urlsplit(url).query else '?'}digest={digest}"
            headers = {"Content-Type": "application/octet-stream"}
            with blob.open() as opened:
                return self._http.once(
                    Request(
                        "PUT",
                        joined,
                        repository,
                        doing,
                        data=opened,
                        headers=headers,
                        expect=(201,),
                    )
                )

        self._http.with_retries(upload)

    def _has_blob(self, repository: str, digest: str, doing: str) -> bool:
        path = self._path(repository, "blobs", digest)
        return bool(
            self._http.ask(Request("HEAD", path, repository, doing, expect=(200, 404))).status
            == requests.codes.ok
        )

    def _mount(self, repository: str, digest: str, sibling: str, doing: str) -> bool:
        """Take a blob over from another repository, if the registry does that, and for this login."""
        path = (
            self._path(repository, "blobs", "uploads/")
            + f"?mount={digest}&from={quote(within(sibling), safe='/')}"
        )
        expect = (201, 202, 400, 401, 403, 404, 405)
        answer = self._http.ask(
            Request("POST", path, repository, doing, expect=expect, pulls=sibling)
        )
        return bool(answer.status == requests.codes.created)

    def _path(self, repository: str, kind: str, reference: str) -> str:
        return f"{url_of(self.address)}/v2/{within(repository)}/{kind}/{reference}"


def _spelled(repository: str, reference: str) -> str:
    return f"{repository}@{reference[:19]}" if ":" in reference else f"{repository}:{reference}"


def _fallback(digest: str) -> str:
    """The tag that lists what is attached to a manifest where the registry itself does not."""
    return digest.replace(":", "-")


def _referrer(entry: Mapping[str, Any]) -> Referrer:
    return Referrer(
        digest=entry["digest"],
        artifact_type=entry.get("artifactType", ""),
        size=int(entry.get("size", 0)),
        annotations=entry.get("annotations") or {},
    )


def _descriptor(media_type: str, content: bytes, annotations: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mediaType": media_type,
        "digest": _sha256(content),
        "size": len(content),
    }
    return {**found, "annotations": dict(sorted(annotations.items()))} if annotations else found


def _compact(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _not_as_told(doing: str, told: str, found: str) -> RegistryError:
    return RegistryError(
        f"{doing}: the registry says {told} and gives {found}",
        hint="the registry, or a proxy before it, is broken; nothing was taken from it",
    )


def _opened(file: Path) -> BinaryIO:
    return file.open("rb")


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
