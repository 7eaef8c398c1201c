"""The store with a database that demands TLS. api-rest's tests have what is refused."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from async_worker.settings import Settings
from async_worker.store import MIGRATION_TIMEOUT, Store, database_engine
from secure_database import SecureDatabase

pytestmark = pytest.mark.engine


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SecureDatabase]:
    with closing(SecureDatabase(tmp_path)) as database:
        yield database


def test_the_schema_is_migrated_over_tls(
    database: SecureDatabase, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(**database.environ, DB_TLS_CA=str(database.ca_file))
    migrating = database_engine(settings, MIGRATION_TIMEOUT)
    with closing(Store(database_engine(settings), migrating=migrating)) as store:
        store.prepare()
        store.check()
