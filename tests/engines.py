"""An engine without a Docker engine behind it, for unit tests."""

from typing import cast

from docker import DockerClient

from delivery.host.docker_api import Engine

__all__ = ["fake_engine"]


def fake_engine(
    client: object = None, address: str = "unix:///x", *, oci_layouts: bool = True
) -> Engine:
    """An engine with this client, and the address in the variables of the command line."""
    environment = {"DOCKER_HOST": address}
    return Engine(cast("DockerClient", client), address, "26", oci_layouts, environment)
