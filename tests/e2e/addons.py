"""Programs that a cluster needs for the chart's policies and autoscalers to act.

Go compiles each from its module, since a cluster of the tests has neither. The first time takes
minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from delivery.host import go_module
from tests.e2e.platform import Platform

__all__ = ["METRICS_SERVER", "NETWORK_POLICIES", "Addon", "installed"]

_FOLDER = Path(__file__).parent / "addons"


@dataclass(frozen=True)
class Addon:
    """A program, and the objects that run it in kube-system (addons/NAME.yaml)."""

    name: str
    module: str
    # The program's name, which Go takes from the module's path.
    program: str
    workload: str


NETWORK_POLICIES = Addon(
    "network-policies",
    "sigs.k8s.io/kube-network-policies/cmd@v0.8.0",
    "cmd",
    "daemonset/network-policies",
)
METRICS_SERVER = Addon(
    "metrics-server",
    "sigs.k8s.io/metrics-server/cmd/metrics-server@v0.9.0",
    "metrics-server",
    "deployment/metrics-server",
)


@contextmanager
def installed(platform: Platform, addon: Addon, folder: Path) -> Iterator[None]:
    """Run an addon while the body runs."""
    image = _push(platform, addon, folder)
    system = replace(platform.cluster, namespace="kube-system")
    objects = (_FOLDER / f"{addon.name}.yaml").read_text(encoding="utf-8").replace("IMAGE", image)
    system.kubectl("apply", "--filename", "-", stdin=objects)
    try:
        system.kubectl("rollout", "status", addon.workload, "--timeout", "120s", timeout=130)
        yield
    finally:
        system.kubectl("delete", "--wait=false", "--filename", "-", stdin=objects)


def _push(platform: Platform, addon: Addon, folder: Path) -> str:
    """The addon's image, compiled and pushed to the registry of the nodes."""
    if not go_module.can_install():
        pytest.skip(f"{addon.module} needs Go")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGO_ENABLED", "0")
        go_module.install(addon.module, folder, lambda _: None)
    (folder / addon.program).rename(folder / "program")
    shutil.copy2(_FOLDER / "Dockerfile", folder)
    return platform.push(addon.name, folder)
