"""What an edited file means, and the compose file that mounts sources."""

import pytest

from delivery.platform.edits import Edits, Package, override, sort_edits
from delivery.project.declaration import Declaration

PACKAGES = (
    Package("api-rest", "api_rest", "api-rest/src/api_rest", "/site/api_rest"),
    Package("api-rest", "ledger", "ledger/src/ledger", "/site/ledger"),
    Package("async-worker", "async_worker", "async-worker/src/async_worker", "/site/async_worker"),
    Package("async-worker", "ledger", "ledger/src/ledger", "/site/ledger"),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("api-rest/src/api_rest/page.py", Edits({"api-rest": ["api-rest/src/api_rest/page.py"]})),
        (
            "ledger/src/ledger/logs.py",
            Edits({name: ["ledger/src/ledger/logs.py"] for name in ("api-rest", "async-worker")}),
        ),
        ("api-rest/poetry.lock", Edits(rebuilds=["api-rest/poetry.lock"])),
        ("base-image/Dockerfile", Edits(rebuilds=["base-image/Dockerfile"])),
        ("platform-chart/values.yaml", Edits(chart=["platform-chart/values.yaml"])),
        ("docs/errors.md", Edits()),
    ],
)
def test_what_an_edit_means(declaration: Declaration, path: str, expected: Edits) -> None:
    found = sort_edits(declaration, PACKAGES, [path, path])
    assert found.reloads == expected.reloads
    assert (list(found.rebuilds), list(found.chart)) == (
        list(expected.rebuilds),
        list(expected.chart),
    )


def test_without_mounted_packages_every_source_builds_its_image_again(
    declaration: Declaration,
) -> None:
    path = "api-rest/src/api_rest/page.py"
    found = sort_edits(declaration, (), [path])
    assert (found.reloads, list(found.rebuilds)) == ({}, [path])


def test_each_app_gets_its_packages_read_only() -> None:
    services = override(PACKAGES, "/home/$me")["services"]
    assert services == {
        app: {
            "volumes": [
                {
                    "type": "bind",
                    "source": f"/home/$$me/{package.folder}",
                    "target": package.target,
                    "read_only": True,
                }
                for package in PACKAGES
                if package.app == app
            ]
        }
        for app in ("api-rest", "async-worker")
    }


def test_the_debugged_app_starts_under_the_debugger_and_publishes_its_port() -> None:
    services = override(PACKAGES, "/clone", debug="api-rest", debugger="/cache/debugpy")["services"]
    assert isinstance(services, dict)
    debugged = services["api-rest"]
    assert debugged["entrypoint"][:3] == ["python3", "-m", "debugpy"]
    assert debugged["entrypoint"][-3:] == ["--wait-for-client", "-m", "api_rest"]
    assert debugged["ports"] == ["127.0.0.1:5678:5678"]
    (mount,) = [each for each in debugged["volumes"] if each["source"] == "/cache/debugpy"]
    assert debugged["healthcheck"]["test"][0] == "CMD"
    assert debugged["environment"] == {"PYTHONPATH": mount["target"]}
    assert set(services["async-worker"]) == {"volumes"}
