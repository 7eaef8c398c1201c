"""How an engine connects. The integration tests have a real server that demands TLS."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from ledger.config import SettingsError
from ledger.database import DatabaseSettings, open_engine

from ledger import config

MINIMUM = {
    "DB_HOST": "database.invalid",
    "DB_DATABASE": "ledger",
    "DB_USERNAME": "ledger",
    "DB_PASSWORD": "hunter2",
}


class RefusedError(Exception):
    """Ends the attempt to connect."""


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Returns what the driver is given to connect with."""

    def connect(**changes: str) -> dict[str, Any]:
        given: dict[str, Any] = {}

        def refuse(**arguments: object) -> None:
            given.update(arguments)
            raise RefusedError

        settings = config.load(DatabaseSettings, {**MINIMUM, **changes})
        engine = open_engine(settings, timeout=7, init_command="SET a = 1")
        monkeypatch.setattr(engine.dialect, "connect", refuse)
        with pytest.raises(RefusedError):
            engine.connect()
        return given

    return connect


def test_the_driver_gets_the_login_and_the_timeouts(
    connect: Callable[..., dict[str, Any]],
) -> None:
    given = connect(DB_PASSWORD="p@ss:/?#%word", DB_PORT="3307")
    assert (given["host"], given["port"], given["password"]) == (
        "database.invalid",
        3307,
        "p@ss:/?#%word",
    )
    assert (given["connect_timeout"], given["read_timeout"], given["write_timeout"]) == (3, 7, 7)
    assert given["init_command"] == "SET a = 1"
    assert "ssl" not in given


def test_a_ca_makes_tls_and_the_host_name_required(
    connect: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    context = connect(DB_TLS_CA=str(file))["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_wrong_ca_file_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="DB_TLS_CA: cannot read /absent"):
        config.load(DatabaseSettings, {**MINIMUM, "DB_TLS_CA": "/absent"})


def test_the_password_is_not_printed() -> None:
    settings = config.load(DatabaseSettings, MINIMUM)
    engine = open_engine(settings, timeout=1, init_command="")
    assert "hunter2" not in f"{settings!r} {engine!r} {engine.url}"
