"""Registries for tests: a fake in memory, and a proxy that adds faults to a real one."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
Answer = tuple[int, dict[str, str], bytes]
Answering = Callable[[str, str, dict[str, str], bytes], Answer]  # of method, path, headers and body


@dataclass(frozen=True)
class Break:
    """A broken connection."""

    where: str
    """After half of the "request", after half of the "answer", or after a "stall"."""
    seconds: float = 0.0
    """How long it stalls."""


# Of method and path: what to do instead of answering, or None.
Fault = Callable[[str, str], Answer | Break | None]


@dataclass
class FakeRegistry:
    """The distribution API in memory, with the differences between registries."""

    referrers: bool = False  # has the API for referrers
    immutable: bool = False  # refuses to put an existing tag
    deletes: bool = True  # allows to delete manifests
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(
        self, repository: str, tag: str, content: bytes = b"{}", media_type: str = MANIFEST
    ) -> str:
        """Add a manifest under a tag; its digest."""
        digest = sha256(content)
        self.manifests[repository, digest] = (media_type, content)
        self.tags[repository, tag] = digest
        return digest

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/(.+)", path)
        if not match:
            return 200, {}, b"{}"
        repository, kind, reference = match[1], match[2], match[3]
        if kind == "tags":
            tags = [tag for known, tag in self.tags if known == repository]
            return (200, {}, json.dumps({"tags": tags}).encode()) if tags else _UNKNOWN
        if kind == "referrers":
            return self._list(repository, reference)
        if kind == "blobs":
            return self._blob(method, repository, reference, query, body)
        return {"PUT": self._put, "DELETE": self._delete}.get(method, self._get)(
            repository, reference, headers, body
        )

    def _list(self, repository: str, subject: str) -> Answer:
        if not self.referrers:
            return 404, {}, b"404 page not found"
        entries = [
            {
                "digest": digest,
                "size": len(content),
                "artifactType": manifest.get("artifactType", ""),
            }
            for (known, digest), (_, content) in self.manifests.items()
            if known == repository
            and (manifest := json.loads(content)).get("subject", {}).get("digest") == subject
        ]
        return 200, {}, json.dumps({"schemaVersion": 2, "manifests": entries}).encode()

    def _blob(
        self, method: str, repository: str, reference: str, query: str, body: bytes
    ) -> Answer:
        if mount := re.fullmatch(r"mount=(.+)&from=(.+)", query):
            blob = self.blobs.get((mount[2], mount[1]))
            if blob is not None:
                self.blobs[repository, mount[1]] = blob
                return 201, {}, b""
        if method == "POST":
            return 202, {"Location": f"/v2/{repository}/blobs/uploads/session"}, b""
        if method == "PUT":
            self.blobs[repository, query.partition("digest=")[2]] = body
            return 201, {}, b""
        blob = self.blobs.get((repository, reference))
        return _UNKNOWN if blob is None else (200, {}, blob)

    def _get(
        self, repository: str, reference: str, _headers: dict[str, str], _body: bytes
    ) -> Answer:
        digest = self.tags.get((repository, reference), reference)
        if (repository, digest) not in self.manifests:
            return _UNKNOWN
        media_type, content = self.manifests[repository, digest]
        return 200, {"Docker-Content-Digest": digest, "Content-Type": media_type}, content

    def _put(self, repository: str, reference: str, headers: dict[str, str], body: bytes) -> Answer:
        manifest, digest = json.loads(body), sha256(body)
        if self.immutable and (repository, reference) in self.tags:
            return _error(400, "TAG_INVALID", "the tag is immutable")
        configs = [manifest["config"]] if "config" in manifest else []
        for part in (*manifest.get("layers", ()), *configs):
            if (repository, part["digest"]) not in self.blobs:
                return _error(400, "MANIFEST_BLOB_UNKNOWN")
        self.manifests[repository, digest] = (headers["Content-Type"], body)
        if ":" not in reference:
            self.tags[repository, reference] = digest
        subject = manifest.get("subject", {}).get("digest", "")
        return 201, {"OCI-Subject": subject} if subject and self.referrers else {}, b""

    def _delete(
        self, repository: str, reference: str, _headers: dict[str, str], _body: bytes
    ) -> Answer:
        if not self.deletes:
            return _error(405, "UNSUPPORTED", "The operation is unsupported.")
        if self.manifests.pop((repository, reference), None) is None:
            return _UNKNOWN
        self.tags = {
            tag: digest
            for tag, digest in self.tags.items()
            if (tag[0], digest) != (repository, reference)
        }
        return 202, {}, b""


def _error(status: int, code: str, message: str = "") -> Answer:
    return status, {}, json.dumps({"errors": [{"code": code, "message": message}]}).encode()


_UNKNOWN = _error(404, "MANIFEST_UNKNOWN", "manifest unknown")


def forward_to(upstream: str) -> Answering:
    """Answers with those of another registry."""

    def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in {"host", "content-length"}
        }
        answer = requests.request(
            method,
            f"{upstream}{path}",
            headers=kept,
            data=body,
            timeout=30,
            allow_redirects=False,
            stream=True,
        )
        drop = {"transfer-encoding", "connection"}
        if method != "HEAD":  # the engine reads the size of a manifest from a HEAD
            drop.add("content-length")
        headers_back = {
            name: value for name, value in answer.headers.items() if name.lower() not in drop
        }
        if "Location" in headers_back:
            headers_back["Location"] = headers_back["Location"].replace(upstream, "")
        return answer.status_code, headers_back, answer.raw.read()

    return ask


class _Server(ThreadingHTTPServer):
    """A server that answers by a function, or by a fault."""

    daemon_threads = True

    def __init__(self, host: str, answer: Answering, fault: Fault | None) -> None:
        super().__init__((host, 0), _Handler)
        self.answer = answer
        self.fault = fault
        self.seen: list[str] = []

    def handle_error(self, *_: object) -> None:
        pass  # a client that disconnects: the test checks what it does


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the client's delayed ACK
    server: _Server

    def _serve(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        fault = self.server.fault(self.command, self.path) if self.server.fault else None
        length = int(self.headers.get("Content-Length") or 0)
        if isinstance(fault, Break) and fault.where != "answer":
            self.rfile.read(length // 2)
            time.sleep(fault.seconds)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault and not isinstance(fault, Break):
            self._answer(fault)
            return
        answer = self.server.answer(self.command, self.path, dict(self.headers), body)
        self._answer(answer, broken=fault is not None)

    def _answer(self, answer: Answer, *, broken: bool = False) -> None:
        status, headers, content = answer
        if broken and not content:
            self._reset()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if broken:
            self.wfile.write(content[: len(content) // 2])
            self._reset()
        elif self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    # http.server looks methods up by these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    answer: Answering,
    fault: Fault | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[tuple[str, list[str]]]:
    """Serve on a free port; the address, and the requests so far ("METHOD /path")."""
    with _Server(host, answer, fault) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"localhost:{server.server_address[1]}", server.seen
        finally:
            server.shutdown()


def failing(times: int, method: str, part: str, answer: Answer | Break) -> Fault:
    """A fault for the first requests of a method whose path has this part."""
    remaining = [times]

    def fault(asked: str, path: str) -> Answer | Break | None:
        if asked == method and part in path and remaining[0]:
            remaining[0] -= 1
            return answer
        return None

    return fault


def write_layout(folder: Path, *layers: bytes, **more: object) -> str:
    """Write an OCI layout with an image; return its manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        (blobs / sha256(content).partition(":")[2]).write_bytes(content)
        return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}

    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    config = b'{"architecture":"amd64","os":"linux"}'
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(layer, kind) for layer in layers or (b"a layer",)],
        **more,
    }
    entry = blob(json.dumps(manifest).encode(), MANIFEST)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return str(entry["digest"])


def write_index(folder: Path, layers: Mapping[str, bytes]) -> str:
    """Write an OCI layout with an index of images, of a layer each by platform; its digest."""
    entries = []
    for platform, layer in layers.items():
        digest = write_layout(folder, layer)
        system, architecture = platform.split("/")
        named = {"os": system, "architecture": architecture}
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": named})
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    digest = sha256(content)
    (folder / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(content)
    entry = {"mediaType": INDEX, "digest": digest, "size": len(content)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return digest


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def no_line(_text: str) -> None:
    """Print no progress of a push."""


def no_pause(_seconds: float) -> None:
    """Retry at once."""
