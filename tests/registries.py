"""Registries for tests: one in memory, and a proxy that puts faults before a real one."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Answer = tuple[int, dict[str, str], bytes]
Answering = Callable[[str, str, dict[str, str], bytes], Answer]  # of method, path, headers and body


@dataclass(frozen=True)
class Break:
    """A fault of the line, not of the registry: where it strikes, and for how long it stalls.

    "request" resets the connection when half of the request has come, "answer" when half of the answer has gone; "stall" keeps
    silent for that long, and then resets it.
    """

    where: str
    seconds: float = 0.0


Fault = Callable[
    [str, str], Answer | Break | None
]  # (method, path) → what to do instead, or None to go on


@dataclass
class FullRegistry:
    """The distribution API in memory, as registries differ in it."""

    referrers: bool = False  # it lists what is attached to a manifest itself
    immutable: bool = False  # a tag that is there is never put again
    deletes: bool = True  # it lets manifests be deleted
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)

    def hold(
        self, repository: str, tag: str, content: bytes = b"{}", media_type: str = MANIFEST
    ) -> str:
        """Have a manifest under a tag, whoever put it there; its digest."""
        digest = sha256(content)
        self.manifests[repository, digest] = (media_type, content)
        self.tags[repository, tag] = digest
        return digest

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/(.+)", path)
        if not found:
            return 200, {}, b"{}"
        repository, kind, reference = found[1], found[2], found[3]
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
            held = self.blobs.get((mount[2], mount[1]))
            if held is not None:
                self.blobs[repository, mount[1]] = held
                return 201, {}, b""
        if method == "POST":
            return 202, {"Location": f"/v2/{repository}/blobs/uploads/session"}, b""
        if method == "PUT":
            self.blobs[repository, query.partition("digest=")[2]] = body
            return 201, {}, b""
        held = self.blobs.get((repository, reference))
        return _UNKNOWN if held is None else (200, {}, held)

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
            return (
                400,
                {},
                b'{"errors": [{"code": "TAG_INVALID", "message": "the tag is immutable"}]}',
            )
        for part in (
            *manifest.get("layers", ()),
            *([manifest["config"]] if "config" in manifest else ()),
        ):
            if (repository, part["digest"]) not in self.blobs:
                return 400, {}, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}'
        self.manifests[repository, digest] = (headers["Content-Type"], body)
        if ":" not in reference:
            self.tags[repository, reference] = digest
        subject = manifest.get("subject", {}).get("digest", "")
        return 201, {"OCI-Subject": subject} if subject and self.referrers else {}, b""

    def _delete(
        self, repository: str, reference: str, _headers: dict[str, str], _body: bytes
    ) -> Answer:
        if not self.deletes:
            return (
                405,
                {},
                b'{"errors": [{"code": "UNSUPPORTED", "message": "The operation is unsupported."}]}',
            )
        if self.manifests.pop((repository, reference), None) is None:
            return _UNKNOWN
        self.tags = {
            tag: digest
            for tag, digest in self.tags.items()
            if (tag[0], digest) != (repository, reference)
        }
        return 202, {}, b""


_UNKNOWN: Answer = (
    404,
    {},
    b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}',
)


def forward_to(upstream: str) -> Answering:
    """Answer with what another registry answers."""

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
        # A HEAD's length is of what a GET would bring: the engine reads the size of a manifest there.
        drop = {
            "transfer-encoding",
            "connection",
            *(() if method == "HEAD" else ("content-length",)),
        }
        headers_back = {
            name: value for name, value in answer.headers.items() if name.lower() not in drop
        }
        if "Location" in headers_back:
            headers_back["Location"] = headers_back["Location"].replace(upstream, "")
        return answer.status_code, headers_back, answer.raw.read()

    return ask


class _Server(ThreadingHTTPServer):
    """A server that answers as its handler is told to."""

    daemon_threads = True

    def __init__(self, answer: Answering, fault: Fault | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.fault = fault
        self.seen: list[str] = []

    def handle_error(self, *_: object) -> None:
        pass  # a client that has gone: the test says what it thinks of that


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the client's delayed ACK
    server: _Server

    def _serve(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        told = self.server.fault(self.command, self.path) if self.server.fault else None
        length = int(self.headers.get("Content-Length") or 0)
        if isinstance(told, Break) and told.where != "answer":
            self.rfile.read(length // 2)
            time.sleep(told.seconds)
            self._reset()
            return
        body = self.rfile.read(length)
        if isinstance(told, Break) or told is None:
            self._answer(
                self.server.answer(self.command, self.path, dict(self.headers), body),
                broken=bool(told),
            )
        else:
            self._answer(told)

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

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server's names

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    answer: Answering, fault: Fault | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve on a free port; the address, and the requests as they come ("METHOD /path")."""
    with _Server(answer, fault) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"localhost:{server.server_address[1]}", server.seen
        finally:
            server.shutdown()


def failing(times: int, method: str, part: str, answer: Answer | Break) -> Fault:
    """A fault that gives this answer, or breaks so, the first so many times that a request of this kind comes."""
    left = [times]

    def fault(asked: str, path: str) -> Answer | Break | None:
        if asked == method and part in path and left[0]:
            left[0] -= 1
            return answer
        return None

    return fault


def write_layout(folder: Path, *layers: bytes, **more: object) -> str:
    """Write an OCI layout with an image; return its manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

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


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def no_line(_text: str) -> None:
    """Who pushes in a test says nothing of it."""


def no_pause(_seconds: float) -> None:
    """Who is to try again in a test does so at once."""
