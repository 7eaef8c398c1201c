"""The image registry over HTTP: what it holds, and pushes that are proved by reading back.

The protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from docker import auth
from docker.errors import DockerException

from delivery.core.errors import DeliveryError, RegistryError
from delivery.tools.patience import patiently

__all__ = ["Layer", "Registry", "answers", "is_local", "login"]

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ACCEPT = (
    f"{_MANIFEST}, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
)
_TIMEOUT_SECONDS = (5, 120)  # to connect, between two pieces
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_NEXT = re.compile(r'<([^>]+)>; *rel="?next"?')
_LOCAL = {"localhost", "127.0.0.1", "[::1]"}


def is_local(address: str) -> bool:
    """Whether a registry's address is this machine, which Docker speaks plain HTTP with."""
    return _host(address).rpartition(":")[0] in _LOCAL or _host(address) in _LOCAL


def answers(address: str) -> bool:
    """Whether a registry answers at this address; one that asks for a login does."""
    try:
        return requests.get(f"{_url(address)}/v2/", timeout=_TIMEOUT_SECONDS).status_code in {200, 401}
    except requests.RequestException:
        return False


def _host(address: str) -> str:
    return address.partition("/")[0]


def _url(address: str) -> str:
    host = _host(address)
    if host == auth.INDEX_NAME:  # Docker Hub's API has another host than its image names
        host = urlsplit(auth.INDEX_URL).netloc
    return f"{'http' if is_local(address) else 'https'}://{host}"


@dataclass(frozen=True)
class Layer:
    """A layer of an image: its digest, and its bytes as pushed (packed) and as the sum of its files' sizes (unpacked)."""

    digest: str
    packed: int
    unpacked: int


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry:
    """One registry, host[:port][/path]; every method names repositories by their whole name, the address included.

    Refusals, faults that outlast the retries, and content that is not what was sent raise RegistryError.
    """

    def __init__(self, address: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.address = address
        self._pause = pause
        self._http = requests.Session()
        self._login = login(address)
        self._tokens: dict[str, str] = {}

    def digest(self, repository: str, reference: str) -> str:
        """The digest of a manifest that the registry holds under a tag or digest, or "" when it holds none."""
        doing = f"look for {repository}:{reference}"
        answer = self._ask("HEAD", self._path(repository, "manifests", reference), repository, doing, expect=(200, 404))
        if answer.status == requests.codes.not_found:
            return ""
        if found := answer.headers.get("Docker-Content-Digest"):
            return found
        return _sha256(self._manifest(repository, reference, doing))

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none when the registry does not know it."""
        doing, url = f"list the tags of {repository}", f"{_url(self.address)}/v2/{_within(repository)}/tags/list"
        found: list[str] = []
        while url:
            answer = self._ask("GET", url, repository, doing, expect=(200, 404))
            if answer.status == requests.codes.not_found:
                return []
            found += json.loads(answer.body).get("tags") or []
            # A long list comes in pages, each with the address of the next.
            following = _NEXT.match(answer.headers.get("Link", ""))
            url = urljoin(url, following[1]) if following else ""
        return found

    def push_layout(self, layout: Path, repository: str, tag: str, on_line: Callable[[str], None]) -> str:
        """Push the one image of an OCI layout (https://github.com/opencontainers/image-spec) and return its digest.

        The tag is put last, and then read back: what the registry serves under it must be the bytes that were sent.
        """
        digest, manifest = _read_layout(layout, repository)
        parts = json.loads(manifest)
        for part in (*parts["layers"], parts["config"]):
            self._push_blob(layout, repository, part["digest"], part["size"], on_line)
        self._ask(
            "PUT",
            self._path(repository, "manifests", tag),
            repository,
            f"push {repository}:{tag}",
            data=manifest,
            headers={"Content-Type": parts.get("mediaType", _MANIFEST)},
            expect=(201,),
        )
        self.verify(repository, tag, digest)
        return digest

    def verify(self, repository: str, tag: str, digest: str) -> None:
        """Read a pushed manifest back; raise RegistryError unless its bytes have this digest."""
        doing = f"read back {repository}:{tag}"
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
            blob = self._ask("GET", self._path(repository, "blobs", part["digest"]), repository, doing).body
            with tarfile.open(fileobj=io.BytesIO(blob), mode="r:*") as tar:
                unpacked = sum(member.size for member in tar if member.isreg())
            found.append(Layer(part["digest"], len(blob), unpacked))
        return found

    def _manifest(self, repository: str, reference: str, doing: str) -> bytes:
        return self._ask("GET", self._path(repository, "manifests", reference), repository, doing).body

    def _push_blob(self, layout: Path, repository: str, digest: str, size: int, on_line: Callable[[str], None]) -> None:
        doing = f"push {repository}: layer {digest[7:19]}"
        there = self._ask("HEAD", self._path(repository, "blobs", digest), repository, doing, expect=(200, 404))
        if there.status == requests.codes.ok:
            on_line(f"layer {digest[7:19]} is there")
            return
        on_line(f"layer {digest[7:19]}, {size / 1e6:.1f} MB")
        blob = layout / "blobs" / "sha256" / digest.partition(":")[2]

        def upload() -> _Answer:
            # A retried upload starts anew: the place given for the first one is spent.
            place = self._once("POST", self._path(repository, "blobs", "uploads/"), repository, doing, expect=(202,))
            url = urljoin(_url(self.address), place.headers["Location"])
            joined = f"{url}{'&' if urlsplit(url).query else '?'}digest={digest}"
            with blob.open("rb") as content:
                return self._once(
                    "PUT",
                    joined,
                    repository,
                    doing,
                    data=content,
                    headers={"Content-Type": "application/octet-stream"},
                    expect=(201,),
                )

        patiently(upload, pause=self._pause)

    def _path(self, repository: str, kind: str, reference: str) -> str:
        return f"{_url(self.address)}/v2/{_within(repository)}/{kind}/{reference}"

    def _ask(self, *arguments: Any, **options: Any) -> _Answer:  # noqa: ANN401  # _once's own
        return patiently(lambda: self._once(*arguments, **options), pause=self._pause)

    def _once(
        self,
        method: str,
        url: str,
        repository: str,
        doing: str,
        *,
        expect: tuple[int, ...] = (200,),
        data: Any = None,  # noqa: ANN401  # bytes, or a file that can be read again
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        def send() -> _Answer:
            if hasattr(data, "seek"):
                data.seek(0)
            with _talking(doing):
                answer = self._http.request(
                    method,
                    url,
                    data=data,
                    headers={"Accept": _ACCEPT, **self._authorization(repository), **(headers or {})},
                    timeout=_TIMEOUT_SECONDS,
                    allow_redirects=method in {"GET", "HEAD"},
                )
            return _Answer(answer.status_code, answer.headers, answer.content)

        answer = send()
        if answer.status == requests.codes.unauthorized and self._log_in(repository, answer, doing):
            answer = send()
        if answer.status not in expect:
            raise _refused(doing, self.address, answer, known=bool(self._login))
        return answer

    def _authorization(self, repository: str) -> dict[str, str]:
        token = self._tokens.get(repository)
        return {"Authorization": token} if token else {}

    def _log_in(self, repository: str, answer: _Answer, doing: str) -> bool:
        """Answer a 401's challenge, also when a token has run out; say whether it is worth asking again."""
        challenge = answer.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._login and repository not in self._tokens:
            basic = requests.Request("GET", "http://x", auth=self._login).prepare().headers["Authorization"]
            self._tokens[repository] = str(basic)
            return True
        if scheme.lower() != "bearer":
            return False
        asked = dict(_CHALLENGE.findall(rest))
        with _talking(f"{doing}: log in"):
            given = self._http.get(
                asked["realm"],
                params={"service": asked.get("service", ""), "scope": f"repository:{_within(repository)}:pull,push"},
                auth=self._login,
                timeout=_TIMEOUT_SECONDS,
            )
        if given.status_code != requests.codes.ok:
            return False
        token = given.json()
        self._tokens[repository] = f"Bearer {token.get('token') or token.get('access_token')}"
        return True


def _within(repository: str) -> str:
    """A repository's name as its registry knows it: without the host."""
    return repository.partition("/")[2]


def login(address: str) -> tuple[str, str] | None:
    """The user and password for a registry: from the environment, else from the Docker config and its helpers."""
    user = os.environ.get("DELIVERY_REGISTRY_USERNAME")
    if user:
        return user, os.environ.get("DELIVERY_REGISTRY_PASSWORD", "")
    try:
        known = auth.load_config().resolve_authconfig(_host(address))
    except DockerException as error:
        raise RegistryError(
            f"read the login for {_host(address)} from the Docker config: {error}",
            hint="`docker login` writes it anew; DELIVERY_REGISTRY_USERNAME and _PASSWORD go before it",
        ) from error
    if not known:
        return None
    return known.get("username", known.get("Username", "")), known.get("password", known.get("Secret", ""))


@contextmanager
def _talking(doing: str) -> Iterator[None]:
    try:
        yield
    except DeliveryError:
        raise
    except requests.exceptions.SSLError as error:
        raise RegistryError(
            f"{doing}: the registry's certificate is not trusted: {error}",
            hint="name the bundle that trusts its CA in REQUESTS_CA_BUNDLE",
        ) from error
    except requests.RequestException as error:
        raise RegistryError(
            f"{doing}: the registry does not answer: {error}",
            hint="check the registry's address in delivery.toml (or DELIVERY_REGISTRY), and that it runs",
            retriable=True,
        ) from error


def _refused(doing: str, address: str, answer: _Answer, *, known: bool) -> RegistryError:
    reason = answer.body.decode("utf-8", "replace").strip()[:300]
    with suppress(ValueError, KeyError, TypeError):  # not every refusal comes as the specification's JSON
        reason = "; ".join(f"{one['code']}: {one.get('message', '')}" for one in json.loads(reason)["errors"])
    host = _host(address)
    hints = {
        401: f"the login for {host} is wrong" if known else f"there is no login for {host}",
        403: "this login may not do that; ask for push rights on the repository",
        404: "the registry does not know the repository; some want it made first",
        413: "a proxy before the registry limits the size of uploads; raise its limit",
        429: "too many requests; wait, or log in for a higher limit",
    }
    hint = hints.get(answer.status, "see the registry's own log")
    if answer.status == requests.codes.unauthorized:
        hint += f": `docker login {host}`, or set DELIVERY_REGISTRY_USERNAME and DELIVERY_REGISTRY_PASSWORD"
    return RegistryError(
        f"{doing}: the registry answered {answer.status}{f' ({reason})' if reason else ''}",
        hint=hint,
        retriable=answer.status >= requests.codes.server_error or answer.status == requests.codes.too_many_requests,
    )


def _read_layout(layout: Path, repository: str) -> tuple[str, bytes]:
    """The digest and bytes of the one manifest that an OCI layout holds."""
    try:
        index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
        (entry,) = index["manifests"]
        manifest = (layout / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
        found = entry["digest"]
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(
            f"push {repository}: {layout} is not an OCI layout with one image ({error})", hint="build it anew"
        ) from error
    if _sha256(manifest) != found:
        raise RegistryError(
            f"push {repository}: {layout} is damaged: {found} is not its manifest", hint="build it anew"
        )
    return found, manifest


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
