"""The store with a database that demands TLS, and with one that has none."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pymysql  # type: ignore[import-untyped]
import pytest
import trustme
from api_rest.errors import Unavailable
from api_rest.settings import Settings
from api_rest.store import Store, database_engine
from secure_database import SecureDatabase
from sqlalchemy import text

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureDatabase]:
    with closing(SecureDatabase(tmp_path_factory.mktemp("database"))) as database:
        yield database


def refusal(settings: Settings) -> str:
    with closing(Store(database_engine(settings))) as store:
        with pytest.raises(Unavailable) as caught:
            store.check()
        return str(caught.value)


def test_connections_are_encrypted(
    database: SecureDatabase, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(**database.environ, DB_TLS_CA=str(database.ca_file))
    with database_engine(settings).connect() as connection:
        cipher = connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1]
        version = connection.execute(text("SHOW STATUS LIKE 'Ssl_version'")).one()[1]
    assert cipher
    assert version in {"TLSv1.2", "TLSv1.3"}
    assert "does not exist yet; async-worker makes it" in refusal(settings)


def test_the_database_demands_tls(database: SecureDatabase) -> None:
    """Without this the other tests would prove nothing."""
    with pytest.raises(pymysql.OperationalError, match="insecure transport are prohibited"):
        database.connect(ssl_disabled=True)


def test_a_certificate_of_another_ca_is_refused(
    database: SecureDatabase, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(
        make_settings(**database.environ, DB_TLS_CA=str(other))
    )


def test_a_certificate_for_another_host_is_refused(
    database: SecureDatabase, make_settings: Callable[..., Settings]
) -> None:
    environ = {**database.environ, "DB_HOST": "127.0.0.1", "DB_TLS_CA": str(database.ca_file)}
    assert "certificate is not valid for '127.0.0.1'" in refusal(make_settings(**environ))


def test_a_database_without_tls_is_refused(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with closing(SecureDatabase(tmp_path, tls=False)) as plain:
        settings = make_settings(**plain.environ, DB_TLS_CA=str(plain.ca_file))
        assert "SSL is required but the server doesn't support it" in refusal(settings)
