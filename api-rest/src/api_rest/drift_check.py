"""Compare a Helm release with the cluster, and report drift to the ledger: a CronJob of the chart.

Run as `python3 -m api_rest.drift_check`, with RELEASE, ENVIRONMENT, LEDGER (the address of an
api-rest) and, unless LEDGER's CA is public, CA_FILE; TOKEN is a bearer token that may write.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from .drift import find
from .drift_reports import FOUND_MAX

__all__ = ["main"]

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 15


class Client:
    """Sends JSON to an HTTPS server."""

    def __init__(self, address: str, ca_file: str | None, token: str) -> None:
        self._address = address
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        # Without the environment's proxies: both servers are in the cluster.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler).open

    def send(self, path: str, body: object = None) -> dict[str, Any]:
        """Return the JSON answer to a GET, or with a body to a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, self._headers)  # noqa: S310
        with self._open(request, timeout=TIMEOUT) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


def main(environ: Mapping[str, str], account: Path = ACCOUNT) -> int:
    """Report the drift of a release; return the exit code."""
    namespace = (account / "namespace").read_text("utf-8").strip()
    token = (account / "token").read_text("utf-8").strip()
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    cluster = Client(f"https://{host}:{port}", str(account / "ca.crt"), token)
    ledger = Client(environ["LEDGER"], environ.get("CA_FILE"), environ.get("TOKEN", ""))
    readable, live = [], []
    kinds: dict[str, dict[str, str]] = {}
    for each in deployed(cluster, namespace, environ["RELEASE"]):
        if not (path := path_of(cluster, each, namespace, kinds)):
            continue
        try:
            live.append(cluster.send(path))
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                print(f"not compared: {path}: {error.code}", flush=True)  # noqa: T201  a job's log
                continue
        readable.append(each)
    found = find(readable, live)
    for drift in found:
        print(json.dumps(asdict(drift)), flush=True)  # noqa: T201  a job's log
    body = {"environment": environ["ENVIRONMENT"], "found": list(map(asdict, found[:FOUND_MAX]))}
    ledger.send("/drift", body)
    summary = f"reported: {len(found)} differences in {len(readable)} objects"
    print(summary, flush=True)  # noqa: T201
    return 0


def deployed(cluster: Client, namespace: str, release: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of the manifest that the release was deployed by."""
    selector = f"owner%3Dhelm%2Cname%3D{release}%2Cstatus%3Ddeployed"
    secrets = cluster.send(f"/api/v1/namespaces/{namespace}/secrets?labelSelector={selector}")
    newest = max(secrets["items"], key=lambda secret: int(secret["metadata"]["labels"]["version"]))
    # Helm encodes what Kubernetes encodes again.
    packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
    manifest = json.loads(gzip.decompress(packed))["manifest"]
    for document in yaml.load_all(manifest, yaml.CSafeLoader):
        if document:
            yield from document["items"] if document["kind"].endswith("List") else [document]


def path_of(
    cluster: Client, wanted: Mapping[str, Any], namespace: str, kinds: dict[str, dict[str, str]]
) -> str:
    """Return the path of an object in the API; empty for one outside the namespace."""
    version = wanted["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if root not in kinds:
        resources = cluster.send(root)["resources"]
        kinds[root] = {
            each["kind"]: each["name"]
            for each in resources
            if each["namespaced"] and "/" not in each["name"]
        }
    plural, metadata = kinds[root].get(wanted["kind"]), wanted["metadata"]
    if not plural or metadata.get("namespace", namespace) != namespace:
        return ""
    return f"{root}/namespaces/{namespace}/{plural}/{metadata['name']}"


if __name__ == "__main__":
    sys.exit(main(os.environ))
