"""Render as an upgrade does: helm's `lookup` reads the objects of a cluster that is there.

The cluster is a fake of its API server, which only reads. tests/e2e uses a real one.
"""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import CHART, Document, Values, helm, load, load_all

__all__ = ["claim", "notes", "refused", "upgraded"]

NAMESPACE = "test"
KINDS = {
    "v1": (
        "ConfigMap LimitRange Node PersistentVolumeClaim Pod ResourceQuota Secret Service "
        "ServiceAccount"
    ),
    "apps/v1": "Deployment StatefulSet",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "Job",
    "networking.k8s.io/v1": "NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
}


def upgraded(live: Iterable[Document], values: Values = "", program: str = "") -> list[Document]:
    """Return what the chart renders while these objects are in the cluster."""
    result = _template(live, values, program)
    assert result.returncode == 0, result.stderr
    return load_all(result.stdout)


def notes(live: Iterable[Document], values: Values = "") -> str:
    """Return the chart's NOTES while these objects are in the cluster."""
    result = _template(live, values, "", command="install")
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


def refused(live: Iterable[Document], values: Values = "") -> str:
    """Return the error of helm for values that it must not render over these objects."""
    result = _template(live, values, "")
    assert result.returncode != 0, f"helm renders this: {values}"
    return result.stderr


def claim(name: str) -> Document:
    """Return a PersistentVolumeClaim."""
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}}


def _template(
    live: Iterable[Document], values: Values, program: str, command: str = "template"
) -> subprocess.CompletedProcess[str]:
    text = json.dumps(load(values or "{}") if isinstance(values, str) else values)
    return _run(json.dumps(list(live)), text, program, command)


@functools.cache
def _run(live: str, values: str, program: str, command: str) -> subprocess.CompletedProcess[str]:
    arguments = [command, "platform", str(CHART), "--namespace", NAMESPACE]
    arguments += ["--dry-run=server", "--disable-openapi-validation", "--values", "-"]
    with _api_server(json.loads(live)) as kubeconfig:
        return helm(*arguments, program=program or None, stdin=values, kubeconfig=kubeconfig)


@contextmanager
def _api_server(live: Iterable[Document]) -> Iterator[str]:
    """Serve objects as a cluster does; yield the path of its kubeconfig."""
    responses = _discovery()
    owner = {"meta.helm.sh/release-name": "platform", "meta.helm.sh/release-namespace": NAMESPACE}
    listed: dict[str, list[Document]] = {}
    for each in live:
        metadata = each["metadata"]
        annotated = {**metadata, "annotations": {**metadata.get("annotations", {}), **owner}}
        scope = "" if each["kind"] == "Node" else f"/namespaces/{NAMESPACE}"
        path = f"{_prefix(each['apiVersion'])}{scope}/{_plural(each['kind'])}"
        responses[f"{path}/{metadata['name']}"] = {**each, "metadata": annotated}
        listed.setdefault(path, []).append(each)
    for path, items in listed.items():
        responses[path] = {"kind": f"{items[0]['kind']}List", "apiVersion": "v1", "items": items}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            response = responses.get(self.path.partition("?")[0], missing)
            body = json.dumps(response).encode()
            self.send_response(404 if response is missing else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        tempfile.TemporaryDirectory(prefix="chart-tests-") as folder,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        kubeconfig = Path(folder) / "kubeconfig"
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "fake", "cluster": cluster}],
                    "users": [{"name": "fake", "user": {}}],
                    "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                    "current-context": "fake",
                }
            )
        )
        try:
            yield str(kubeconfig)
        finally:
            server.shutdown()
            thread.join()


def _prefix(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def _discovery() -> dict[str, Any]:
    """Return what an API server says about itself, by path."""
    groups = [version.split("/") for version in KINDS if "/" in version]
    listed = [
        {"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}]}
        for group, version in groups
    ]
    responses: dict[str, Any] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed},
    }
    for version, kinds in KINDS.items():
        resources = [
            {"name": _plural(kind), "kind": kind, "namespaced": kind != "Node", "verbs": ["get"]}
            for kind in kinds.split()
        ]
        found = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        responses[_prefix(version)] = found
    return responses
