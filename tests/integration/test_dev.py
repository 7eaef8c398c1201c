"""`inv dev` on the second platform: a saved file is served, a broken one is not."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from delivery.host.docker_api import Engine
from tests.commands import running
from tests.integration.conftest import Platform
from tests.waiting import wait_for

pytestmark = pytest.mark.engine


@contextmanager
def developing(platform: Platform, log: Path) -> Iterator[None]:
    """Run `inv dev` meanwhile, with its output in a file; interrupted, it ends with 0."""
    argv = [sys.executable, "-m", "delivery", "dev"]
    with running(argv, platform.folder, platform.environment, log) as task:
        try:
            wait_for(
                "inv dev to watch",
                lambda: "watching this clone" in log.read_text() or task.poll() is not None,
            )
            yield
        finally:
            task.send_signal(signal.SIGINT)
            assert task.wait(120) == 0, log.read_text()


def mounts(engine: Engine, platform: Platform) -> list[str]:
    """The mount points of api-rest's container."""
    name = f"{platform.environment['COMPOSE_PROJECT_NAME']}-api-rest-1"
    return [each["Destination"] for each in engine.client.containers.get(name).attrs["Mounts"]]


def test_a_saved_file_is_served_a_broken_one_is_not_and_what_was_built_is_restored(
    engine: Engine, platform: Platform, tmp_path: Path
) -> None:
    file = platform.folder / "api-rest" / "src" / "api_rest" / "__init__.py"
    source, log = file.read_text(), tmp_path / "log"
    address = f"http://localhost:{platform.ports['API_PORT']}/"

    def wait_for_line(text: str, count: int = 1) -> None:
        wait_for(text, lambda: log.read_text().count(text) >= count)

    with developing(platform, log):
        file.write_text(f"{source}\nimport sys\nprint('a saved line', file=sys.stderr)\n")
        wait_for_line("api-rest reloaded in")
        wait_for_line("a saved line")
        assert requests.get(address, timeout=10).status_code == 200
        file.write_text(f"{source}\ndef broken(:\n")
        wait_for_line("it serves on as it was")
        assert "SyntaxError" in log.read_text()
        assert requests.get(address, timeout=10).status_code == 200
        assert mounts(engine, platform)
        file.write_text(source)
        wait_for_line("api-rest reloaded in", 2)
    assert mounts(engine, platform) == []
    assert platform.inv("status").returncode == 0
