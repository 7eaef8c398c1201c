"""Registries for tests: one in memory that answers as told, and a proxy that puts faults before a real one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[str, str], Answer | None]  # (method, path) → the answer to give instead, or None to go on


class MemoryRegistry:
    """As much of the distribution API as a push needs, kept in a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}

    def __call__(self, method: str, path: str, _headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = path.partition("?")
        if path == "/v2/":
            return 200, {}, b"{}"
        if "/manifests/" in path:
            return self._manifest(method, path.rpartition("/")[2], body)
        if method == "POST":
            return 202, {"Location": f"{path}session"}, b""
        if method == "PUT":
            self.blobs[query.partition("digest=")[2]] = body
            return 201, {}, b""
        held = self.blobs.get(path.rpartition("/")[2])
        return (404, {}, b"") if held is None else (200, {}, held)

    def _manifest(self, method: str, reference: str, body: bytes) -> Answer:
        if method == "PUT":
            self.manifests[reference] = self.manifests[sha256(body)] = body
            return 201, {}, b""
        held = self.manifests.get(reference)
        if held is None:
            return 404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        return 200, {"Docker-Content-Digest": sha256(held)}, held


def forward_to(upstream: str) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """Answer with what another registry answers."""

    def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        kept = {name: value for name, value in headers.items() if name.lower() not in {"host", "content-length"}}
        answer = requests.request(
            method, f"{upstream}{path}", headers=kept, data=body, timeout=30, allow_redirects=False, stream=True
        )
        drop = {"content-length", "transfer-encoding", "connection"}
        headers_back = {name: value for name, value in answer.headers.items() if name.lower() not in drop}
        if "Location" in headers_back:
            headers_back["Location"] = headers_back["Location"].replace(upstream, "")
        return answer.status_code, headers_back, answer.raw.read()

    return ask


@contextmanager
def serving(
    answer: Callable[[str, str, dict[str, str], bytes], Answer], fault: Fault | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve on a free port; the address, and the requests as they come ("METHOD /path")."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(f"{self.command} {self.path}")
            told = fault(self.command, self.path) if fault else None
            status, headers, content = told or answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"localhost:{server.server_address[1]}", seen
        finally:
            server.shutdown()


def failing(times: int, method: str, part: str, answer: Answer) -> Fault:
    """A fault that gives this answer the first so many times that a request of this kind comes."""
    left = [times]

    def fault(asked: str, path: str) -> Answer | None:
        if asked == method and part in path and left[0]:
            left[0] -= 1
            return answer
        return None

    return fault


def write_layout(folder: Path, content: bytes = b"a layer") -> str:
    """Write an OCI layout with an image of one layer; return its manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        (blobs / sha256(content).partition(":")[2]).write_bytes(content)
        return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}

    config = blob(b'{"architecture":"amd64","os":"linux"}', "application/vnd.oci.image.config.v1+json")
    layer = blob(content, "application/vnd.oci.image.layer.v1.tar+gzip")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    }
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return str(entry["digest"])


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
