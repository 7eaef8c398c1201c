"""Let the nodes of a cluster pull from the local registry."""

from __future__ import annotations

import os
from collections.abc import Sequence

from delivery.deploy.kubectl import Kubernetes
from delivery.errors import ClusterError
from delivery.host.docker_api import Engine

__all__ = ["announce", "configure", "pulls_from"]

_REGISTRIES = "/etc/containerd/certs.d"  # in a node: the address of each registry
_WRITE_HOSTS = (
    f'file="{_REGISTRIES}/$1/hosts.toml";'
    ' [ "$(cat "$file" 2>/dev/null)" = "$(printf %s "$2")" ] && exit;'
    ' mkdir -p "${file%/*}" && printf %s "$2" >"$file" && echo written'
)
_CONFIG_MAP = "local-registry-hosting"
_PAGE = "https://kind.sigs.k8s.io/docs/user/local-registry/"


def configure(engine: Engine, nodes: Sequence[str], host: str) -> str:
    """Let the nodes pull by the name that the registry has on this machine; return what changed.

    Raises ClusterError for a registry that is not a container of this engine.
    """
    port = int(host.partition(":")[2] or "80")
    publisher = engine.publishers().get(port)
    if publisher is None:
        raise ClusterError(
            f"cannot let the nodes pull from {host}: "
            f"no container of this engine publishes port {port}",
            hint="stop what listens on that port, so that the registry is started as a container; "
            "or set DELIVERY_REGISTRY to a registry that the nodes reach",
        )
    container, container_port = publisher
    joined = engine.join(os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK") or "kind", container)
    address = f"http://{container}:{container_port}"
    hosts = f'server = "{address}"\n\n[host."{address}"]\n  capabilities = ["pull", "resolve"]\n'
    written = [
        node
        for node in nodes
        if "written" in engine.execute(node, ["sh", "-c", _WRITE_HOSTS, "sh", host, hosts])
    ]
    if written or joined:
        return f"{', '.join(written) or 'the nodes'} pull from {container}"
    return f"the nodes already pull from {container}"


def announce(kubernetes: Kubernetes, host: str) -> None:
    """Publish the registry in the namespace where other tools look for it by KEP-1755."""
    data = {"localRegistryHosting.v1": f'host: "{host}"\nhelp: "{_PAGE}"\n'}
    existing = kubernetes.find("configmap", _CONFIG_MAP)
    if existing is None:
        metadata = {"name": _CONFIG_MAP, "namespace": kubernetes.namespace}
        kubernetes.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
    elif existing.get("data") != data:
        kubernetes.replace({**existing, "data": data})


def pulls_from(engine: Engine, node: str, container: str) -> bool:
    """Whether a node, running or not, pulls from the registry in a container."""
    address = f"http://{container}:".encode()
    return any(address in text for text in engine.read_files(node, _REGISTRIES).values())
