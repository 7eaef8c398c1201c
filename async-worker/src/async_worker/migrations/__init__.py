"""The database's schema, step by step: `versions` has one file a step, and each can be run again after it was cut off.

Steps only add, so that workers of the version before go on while a new one is rolled out.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["HEAD", "upgrade"]

# The last step there is. Declared, so that a database that has it is known without importing Alembic.
HEAD = "0006"


def upgrade(connection: Connection) -> None:
    """Run the steps that the database does not have yet."""
    # Not what it plugs together for commands that are not used here; which steps it runs is worth a line each.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    # Imported only here: most starts find nothing to do.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(
        connection,
        opts={"fn": lambda revision, _: script._upgrade_revs("head", revision)},  # noqa: SLF001  as Alembic's own commands
    )
    with Operations.context(context):
        context.run_migrations()
    connection.commit()
