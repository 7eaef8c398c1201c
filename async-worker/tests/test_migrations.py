import logging
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from async_worker import migrations, sequence
from async_worker.errors import Unavailable
from async_worker.migrations import steps
from async_worker.store import Store, _lock
from ledger.tables import deployments, metadata
from sqlalchemy import Engine, create_engine, event, inspect, select, text
from sqlalchemy.pool import StaticPool

FOLDER = Path(migrations.__file__).parent


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_the_migrations_create_the_declared_tables(engine: Engine) -> None:
    assert len(differences(engine)) > 3
    Store(engine).prepare()
    assert differences(engine) == []


def test_head_is_the_last_step_and_steps_are_numbered() -> None:
    script = ScriptDirectory(str(FOLDER))
    assert script.get_heads() == [migrations.HEAD]
    revisions = sorted(revision.revision for revision in script.walk_revisions())
    assert revisions == [f"{number:04d}" for number in range(1, len(revisions) + 1)]
    for path in FOLDER.glob("versions/v*.py"):
        assert re.fullmatch(r"v\d{4}_[a-z_]+", path.stem)


def test_an_up_to_date_schema_costs_one_query(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(engine).prepare()
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    monkeypatch.setattr(migrations, "upgrade", None)
    Store(engine).prepare()
    assert statements == ["SELECT version_num FROM alembic_version"]


SAME = "'c', 'v', 'e', 'r', 'deploy', 'started', '2026-01-02 00:00:00.000000'"
# The schema of versions without migrations.
EARLIER = (
    """CREATE TABLE deployments (id VARCHAR(36) NOT NULL PRIMARY KEY,
    component VARCHAR(128) NOT NULL, version VARCHAR(128) NOT NULL,
    environment VARCHAR(64) NOT NULL, responsible VARCHAR(256) NOT NULL,
    stage VARCHAR(16) NOT NULL, status VARCHAR(16) NOT NULL,
    received_at DATETIME NOT NULL, details JSON)""",
    "CREATE INDEX ix_deployments_received_at ON deployments (received_at, id)",
    "CREATE INDEX ix_deployments_component ON deployments (component, environment, received_at)",
    *(
        f"INSERT INTO deployments VALUES ({values})"  # noqa: S608
        for values in (
            f"'a', {SAME}, NULL",
            f"""'b', {SAME}, '{{"at": "2026-01-01T00:00:00Z", "pipeline": "https://ci/1"}}'""",
            f"""'c', {SAME}, '{{"at": "tomorrow", "step": "inv deploy"}}'""",
        )
    ),
)
FILLED = [
    ("a", datetime(2026, 1, 2), None, None),  # noqa: DTZ001
    ("b", datetime(2026, 1, 1), "https://ci/1", None),  # noqa: DTZ001
    ("c", datetime(2026, 1, 2), None, "inv deploy"),  # noqa: DTZ001
]


def test_the_table_of_earlier_versions_is_kept_with_its_rows(engine: Engine) -> None:
    run(engine, *EARLIER)
    Store(engine).prepare()
    assert differences(engine) == []
    assert rows(engine) == FILLED
    assert numbered(engine) == ["a", "b", "c"]


CHANGES = ("ALTER", "CREATE", "DROP", "INSERT", "UPDATE")


class KilledError(Exception):
    """Stands for the death of the worker."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BATCH", 2)
    monkeypatch.setattr(sequence, "STEP", 2)


def rows(engine: Engine) -> list[Any]:
    column = deployments.c
    query = select(column.id, column.at, column.pipeline, column.step).order_by(column.id)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def numbered(engine: Engine) -> list[str]:
    """The ids of the rows with a number, in its order."""
    column = deployments.c
    query = select(column.id).where(column.sequence > 0).order_by(column.sequence)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def statements_of_a_whole_run() -> list[str]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    run(engine, *EARLIER)
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(steps, "BATCH", 2)
        monkeypatch.setattr(sequence, "STEP", 2)
        Store(engine).prepare()
    engine.dispose()
    return [statement for statement in statements if statement.lstrip().startswith(CHANGES)]


@pytest.mark.parametrize("done", range(len(statements_of_a_whole_run())))
def test_the_next_run_finishes_an_interrupted_one(engine: Engine, done: int) -> None:
    run(engine, *EARLIER)
    count = 0

    def kill(*arguments: Any) -> None:
        nonlocal count
        if arguments[2].lstrip().startswith(CHANGES):
            count += 1
            if count > done:
                raise KilledError

    # As with MySQL, nothing is rolled back.
    with engine.connect() as connection:
        connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
    event.listen(engine, "before_cursor_execute", kill)
    with pytest.raises(KilledError):
        Store(engine).prepare()
    event.remove(engine, "before_cursor_execute", kill)
    Store(engine).prepare()
    assert differences(engine) == []
    assert rows(engine) == FILLED
    assert numbered(engine) == ["a", "b", "c"]


def test_a_newer_schema_is_used_with_a_warning(
    engine: Engine, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    Store(engine).prepare()
    run(engine, "UPDATE alembic_version SET version_num = '9999'")
    with caplog.at_level(logging.WARNING):
        Store(engine).prepare()
    assert structured(caplog) == [
        {
            "event": "the database is newer than this worker",
            "database": "9999",
            "worker": migrations.HEAD,
        }
        | structured(caplog)[0]
    ]
    assert inspect(engine).has_table("deployments")


class Connection:
    """Returns a result of GET_LOCK."""

    def __init__(self, answer: int | None) -> None:
        self.answer = answer
        self.statement = ""

    def execute(self, query: object, parameters: dict[str, int]) -> "Connection":
        self.statement = f"{query} {parameters}"
        return self

    def scalar(self) -> int | None:
        return self.answer


@pytest.mark.parametrize("answer", [0, None])
def test_a_worker_waits_while_another_one_migrates(answer: int | None) -> None:
    connection = Connection(answer)
    with pytest.raises(Unavailable, match="another worker is changing the database's schema"):
        _lock(connection)  # type: ignore[arg-type]
    assert "GET_LOCK" in connection.statement
    assert "{'wait': 5}" in connection.statement
