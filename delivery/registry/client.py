"""The content of an image registry, and pushes that are read back.

The protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from requests import Response, codes

from delivery.errors import RegistryError
from delivery.registry import oci_layout
from delivery.registry.http import (
    TIMEOUT_SECONDS,
    Connection,
    Request,
    base_url,
    cannot,
    is_reachable,
    login,
    missing_login,
    path_of,
)
from delivery.registry.oci_layout import MANIFEST, Manifest

__all__ = [
    "Artifact",
    "Blob",
    "Manifest",
    "Registry",
    "find",
    "is_reachable",
    "login",
    "missing_login",
]

_INDEX = "application/vnd.oci.image.index.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_NEXT = re.compile(r'<([^>]+)>; *rel="?next"?')
# Registries differ in how they refuse to put an existing tag that is immutable.
_IMMUTABLE = (400, 403, 409, 412)
_NO_REFERRERS_API = (400, 404, 405)
_NOT_MOUNTED = (202, 400, 401, 403, 404, 405)
_CHANGED = (
    "push again once nothing else writes to this tag; if nothing does, the registry is broken"
)


def find(address: str) -> Registry | None:
    """The registry at an address, or None if it does not answer."""
    return Registry(address) if is_reachable(address) else None


@dataclass(frozen=True)
class Blob:
    """A part of an artifact."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)
    """The annotations of its descriptor."""

    @property
    def digest(self) -> str:
        """The digest of its content."""
        return _sha256(self.content)

    @property
    def descriptor(self) -> dict[str, Any]:
        """Its entry in a manifest."""
        descriptor = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
        }
        if not self.annotations:
            return descriptor
        return {**descriptor, "annotations": dict(sorted(self.annotations.items()))}


@dataclass(frozen=True)
class Artifact:
    """An OCI artifact to push: the same content has the same digest."""

    artifact_type: str
    layers: Sequence[Blob]
    """Without layers the specification's empty blob is the layer; so for the config."""
    config: Blob | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    """The digest of the manifest, in the same repository, that it is attached to."""

    @property
    def parts(self) -> tuple[Blob, ...]:
        """Its config, then its layers."""
        empty = Blob(_EMPTY, b"{}")
        return self.config or empty, *(self.layers or (empty,))

    def manifest(self, subject: Mapping[str, Any] | None) -> bytes:
        """The bytes of its manifest; subject is the descriptor of what it is attached to."""
        config, *layers = self.parts
        content: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST}
        if self.artifact_type != config.media_type:  # which else is the type of the artifact
            content["artifactType"] = self.artifact_type
        content["config"] = config.descriptor
        content["layers"] = [layer.descriptor for layer in layers]
        if subject:
            content["subject"] = subject
        if self.annotations:
            content["annotations"] = dict(sorted(self.annotations.items()))
        return _to_json(content)


class Registry:
    """A registry, HOST[:PORT][/PATH]; methods take the whole names of repositories.

    Raises RegistryError for refusals, for failures that outlast the retries, and for content that
    is not what was sent. timeout: the seconds to connect, and between two pieces of an answer.
    """

    def __init__(
        self,
        address: str,
        *,
        pause: Callable[[float], None] = time.sleep,
        timeout: tuple[float, float] = TIMEOUT_SECONDS,
    ) -> None:
        self.address = address
        self._connection = Connection(address, pause=pause, timeout=timeout)
        self._without_referrers: set[str] = set()

    def digest(self, repository: str, reference: str) -> str:
        """The digest of the manifest under a tag or digest; "" if it is missing."""
        with cannot(f"look for {_reference(repository, reference)}"):
            answer = self._send("HEAD", repository, f"manifests/{reference}", (200, 404))
            if answer.status_code == codes.not_found:
                return ""
            if digest := answer.headers.get("Docker-Content-Digest"):
                return digest
            manifest = self.fetch(repository, reference)
            return manifest.digest if manifest else ""

    def digests(self, references: Iterable[tuple[str, str]]) -> list[str]:
        """The digests under (repository, tag or digest), as `digest` has them, asked together."""
        pairs = list(references)
        with ThreadPoolExecutor(max(1, len(pairs))) as pool:
            return list(pool.map(lambda pair: self.digest(*pair), pairs))

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none when the registry does not know it."""
        with cannot(f"list the tags of {repository}"):
            pages = self._pages(repository, "tags/list", (404,)) or ()
        return [tag for page in pages for tag in page.get("tags") or ()]

    def fetch(self, repository: str, reference: str) -> Manifest | None:
        """The manifest under a tag or digest, checked against its digest; None when missing."""
        with cannot(f"read {_reference(repository, reference)}"):
            answer = self._send("GET", repository, f"manifests/{reference}", (200, 404))
            if answer.status_code == codes.not_found:
                return None
            digest = _sha256(answer.content)
            named = answer.headers.get("Docker-Content-Digest") or digest
            _check_content(reference if ":" in reference else named, digest)
            try:
                manifest = json.loads(answer.content)
                media_type = answer.headers.get("Content-Type") or manifest.get(
                    "mediaType", MANIFEST
                )
            except (ValueError, AttributeError) as error:
                raise RegistryError(
                    "the answer is not a manifest", hint="see which server answers at this address"
                ) from error
            return Manifest(digest, media_type.partition(";")[0], answer.content, manifest)

    def blob(self, repository: str, digest: str) -> bytes:
        """The content of a blob, checked against its digest."""
        with cannot(f"read {repository}: blob {digest[7:19]}"):
            content = self._send("GET", repository, f"blobs/{digest}", (200,)).content
            _check_content(digest, _sha256(content))
            return content

    def referrers(
        self, repository: str, digest: str, artifact_type: str | None = None
    ) -> list[str]:
        """The digests of what is attached to a manifest: of this type, by default all.

        From the registry's API; where it has none, from the index under the fallback tag.
        """
        return [
            entry["digest"]
            for entry in self._referrers(repository, digest)
            if artifact_type in {None, entry.get("artifactType")}
        ]

    def _referrers(self, repository: str, digest: str) -> Sequence[Mapping[str, Any]]:
        if repository not in self._without_referrers:
            with cannot(f"list the referrers of {_reference(repository, digest)}"):
                pages = self._pages(repository, f"referrers/{digest}", _NO_REFERRERS_API)
            if pages is not None:
                return [entry for page in pages for entry in page.get("manifests") or ()]
            self._without_referrers.add(repository)
        return self._index(repository, _fallback_tag(digest))

    def put_tag(self, repository: str, tag: str, digest: str) -> None:
        """Give an existing manifest another tag, without moving a blob.

        A tag is never moved from another manifest: that is a RegistryError.
        """
        if self._holds(repository, tag, digest):
            return
        with cannot(f"tag {_reference(repository, digest)} as {tag}"):
            manifest = self.fetch(repository, digest)
            if manifest is None:
                raise RegistryError(
                    f"the registry does not hold {digest}",
                    hint="build and push it again; it has been deleted",
                )
            self._put_manifest(repository, tag, manifest)

    def push_artifact(
        self, repository: str, artifact: Artifact, tag: str = "", *, overwrite: bool = False
    ) -> str:
        """Push an artifact, without a tag under its digest alone; its digest.

        A tag of other content is an error, unless overwrite.
        """
        manifest = self._manifest_of(repository, artifact)
        reference = tag or manifest.digest
        exists = self._holds(repository, reference, manifest.digest, overwrite=overwrite)
        # An interrupted push may have left the artifact without attaching it.
        if exists and self._is_attached(repository, artifact.subject, manifest.digest):
            return manifest.digest
        for blob in {part.digest: part for part in artifact.parts}.values():
            with cannot(f"push {repository}: {_layer(blob.digest)}"):
                if not self._has_blob(repository, blob.digest):
                    self._upload(repository, blob.digest, blob.content)
        answer = self._put_manifest(repository, reference, manifest, overwrite=overwrite)
        if artifact.subject and "OCI-Subject" not in answer.headers:
            listed = Blob(MANIFEST, manifest.content, artifact.annotations)
            entry = {**listed.descriptor, "artifactType": artifact.artifact_type}
            self._connection.retry(lambda: self._attach(repository, artifact.subject, entry))
        return manifest.digest

    def artifact_digest(self, repository: str, artifact: Artifact) -> str:
        """The digest that `push_artifact` would push this as; pushes nothing."""
        return self._manifest_of(repository, artifact).digest

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest, if it exists, and with it all its tags.

        The fallback tag with the referrers of another manifest is not changed.
        """
        with cannot(f"delete {_reference(repository, digest)}"):
            self._send("DELETE", repository, f"manifests/{digest}", (200, 202, 404))

    def push_layout(
        self,
        layout: Path,
        repository: str,
        tag: str,
        on_line: Callable[[str], None],
        *,
        mount_from: Sequence[str] = (),
    ) -> str:
        """Push the image of an OCI layout, or the index of its platforms' images; its digest.

        The tag is put last, and then read back. A blob that a repository of mount_from has is
        mounted from that repository, and not sent.
        """
        image = oci_layout.read(layout)
        parts = [oci_layout.read(layout, digest) for digest in image.platforms.values()]
        blobs = {
            blob["digest"]: int(blob["size"])
            for part in parts or [image]
            for blob in (*part.manifest["layers"], part.manifest["config"])
        }
        for digest, size in blobs.items():
            name = _layer(digest)
            with cannot(f"push {repository}: {name}"):
                if self._has_blob(repository, digest):
                    on_line(f"{name} exists")
                elif sibling := self._mount(repository, digest, mount_from):
                    on_line(f"{name} mounted from {sibling}")
                else:
                    on_line(f"{name}, {size / 1e6:.1f} MB")
                    self._upload(repository, digest, oci_layout.blob_file(layout, digest))
        for part in parts:
            self._put_manifest(repository, part.digest, part)
        self._put_manifest(repository, tag, image, overwrite=True)
        return image.digest

    def check_digest(self, repository: str, reference: str, digest: str) -> None:
        """Raise RegistryError unless the registry serves this digest under a tag or digest."""
        with cannot(f"read back {_reference(repository, reference)}"):
            answer = self._send("GET", repository, f"manifests/{reference}", (200, 404))
            exists = answer.status_code == codes.ok
            actual = _sha256(answer.content) if exists else "nothing"
            if actual != digest:
                raise RegistryError(
                    f"the registry holds {actual}, {digest} was sent", hint=_CHANGED
                )

    def _send(self, method: str, repository: str, path: str, expect: Sequence[int]) -> Response:
        return self._connection.send(
            Request(method, self._url(repository, path), repository, expect)
        )

    def _url(self, repository: str, path: str) -> str:
        return f"{base_url(self.address)}/v2/{path_of(repository)}/{path}"

    def _pages(
        self, repository: str, path: str, none: Sequence[int]
    ) -> list[Mapping[str, Any]] | None:
        """The pages of a list, each of which names the next; None for a status of none."""
        pages: list[Mapping[str, Any]] = []
        url = self._url(repository, path)
        while url:
            answer = self._connection.send(Request("GET", url, repository, expect=(200, *none)))
            if answer.status_code in none:
                return None
            pages.append(json.loads(answer.content))
            following = _NEXT.match(answer.headers.get("Link", ""))
            url = urljoin(url, following[1]) if following else ""
        return pages

    def _holds(
        self, repository: str, reference: str, digest: str, *, overwrite: bool = False
    ) -> bool:
        """Whether this manifest is under a tag or digest; RegistryError if another is."""
        actual = self.digest(repository, reference)
        if actual not in {"", digest} and not overwrite:
            raise RegistryError(
                f"cannot put {_reference(repository, reference)}: it is {actual} already, "
                f"and would be {digest}",
                hint="give other content another version: version tags are never overwritten",
            )
        return actual == digest

    def _put_manifest(
        self, repository: str, reference: str, manifest: Manifest, *, overwrite: bool = False
    ) -> Response:
        """Put a manifest and read it back.

        A registry with immutable tags may refuse a tag that another push has just put.
        """
        with cannot(f"push {_reference(repository, reference)}"):
            answer = self._put(repository, reference, manifest, (201, *_IMMUTABLE))
            if answer.status_code in _IMMUTABLE and not self._holds(
                repository, reference, manifest.digest, overwrite=overwrite
            ):
                raise self._connection.refusal(answer)
        self.check_digest(repository, reference, manifest.digest)
        return answer

    def _put(
        self, repository: str, reference: str, manifest: Manifest, expect: Sequence[int]
    ) -> Response:
        url = self._url(repository, f"manifests/{reference}")
        headers = {"Content-Type": manifest.media_type}
        request = Request("PUT", url, repository, expect, manifest.content, headers)
        return self._connection.send(request)

    def _attach(self, repository: str, subject: str, entry: Mapping[str, Any]) -> None:
        """Add a manifest to the index, under the fallback tag, of what is attached to its subject.

        Two pushes may change the index at the same time: a lost entry is added again.
        """
        tag = _fallback_tag(subject)
        with cannot(f"attach to {_reference(repository, subject)}"):
            entries = self._index(repository, tag)
            if entry["digest"] in {other["digest"] for other in entries}:
                return
            content = _to_json(
                {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*entries, entry]}
            )
            self._put(repository, tag, Manifest(_sha256(content), _INDEX, content, {}), (201,))
            if entry["digest"] not in {other["digest"] for other in self._index(repository, tag)}:
                raise RegistryError(
                    f"the tag {tag} loses what is added to it", hint=_CHANGED, retriable=True
                )

    def _index(self, repository: str, tag: str) -> list[dict[str, Any]]:
        index = self.fetch(repository, tag)
        return list(index.manifest.get("manifests") or ()) if index else []

    def _is_attached(self, repository: str, subject: str, digest: str) -> bool:
        return not subject or digest in self.referrers(repository, subject)

    def _manifest_of(self, repository: str, artifact: Artifact) -> Manifest:
        """The manifest of an artifact; reads the subject, which has to exist."""
        descriptor = None
        if artifact.subject:
            subject = self.fetch(repository, artifact.subject)
            if subject is None:
                raise RegistryError(
                    f"cannot attach to {_reference(repository, artifact.subject)}: the registry "
                    "does not hold it",
                    hint="push the image first",
                )
            descriptor = Blob(subject.media_type, subject.content).descriptor
        content = artifact.manifest(descriptor)
        return Manifest(_sha256(content), MANIFEST, content, {})

    def _has_blob(self, repository: str, digest: str) -> bool:
        answer = self._send("HEAD", repository, f"blobs/{digest}", (200, 404))
        return bool(answer.status_code == codes.ok)

    def _upload(self, repository: str, digest: str, source: bytes | Path) -> None:
        def upload() -> None:
            # Each attempt starts again: an upload's address serves once.
            start = self._url(repository, "blobs/uploads/")
            begun = self._connection.send_once(Request("POST", start, repository, expect=(202,)))
            url = urljoin(start, begun.headers["Location"])
            url += f"{'&' if urlsplit(url).query else '?'}digest={digest}"
            headers = {"Content-Type": "application/octet-stream"}
            with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as data:
                request = Request("PUT", url, repository, (201,), data, headers)
                self._connection.send_once(request)

        self._connection.retry(upload)

    def _mount(self, repository: str, digest: str, siblings: Sequence[str]) -> str:
        """The sibling that a blob was mounted from; "" if none has it, or the registry refuses."""
        others = (sibling for sibling in siblings if sibling != repository)
        sibling = next((other for other in others if self._has_blob(other, digest)), "")
        if not sibling:
            return ""
        query = f"mount={digest}&from={quote(path_of(sibling), safe='/')}"
        url = self._url(repository, f"blobs/uploads/?{query}")
        request = Request("POST", url, repository, (201, *_NOT_MOUNTED), mounts_from=sibling)
        answer = self._connection.send(request)
        return sibling if answer.status_code == codes.created else ""


def _reference(repository: str, reference: str) -> str:
    return f"{repository}@{reference[:19]}" if ":" in reference else f"{repository}:{reference}"


def _layer(digest: str) -> str:
    return f"layer {digest[7:19]}"


def _fallback_tag(digest: str) -> str:
    """The tag of the index of referrers where the registry has no API for them."""
    return digest.replace(":", "-")


def _to_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _check_content(expected: str, actual: str) -> None:
    if actual != expected:
        raise RegistryError(
            f"the registry names {expected} and serves {actual}",
            hint="see the registry's log, and that of any proxy in front of it; nothing was used",
        )


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
