"""The migrations of the database: one file for each step, in `versions`.

Each step can run again after it was interrupted. Steps only add, so that workers of the previous
version go on during a rollout.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["HEAD", "upgrade"]

# The last step. With this constant a start needs no Alembic when the schema is up to date.
HEAD = "0010"


def upgrade(connection: Connection) -> None:
    """Run the missing steps."""
    # Log the steps that run, but not the plugins that Alembic loads.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    # Slow to import, and most starts need no migration.
    from alembic.operations import Operations  # noqa: PLC0415  see above
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  see above
    from alembic.script import ScriptDirectory  # noqa: PLC0415  see above

    script = ScriptDirectory(str(Path(__file__).parent))

    def missing_steps(revision: str, _: object) -> object:
        return script._upgrade_revs("head", revision)  # noqa: SLF001  Alembic's commands do so too

    context = MigrationContext.configure(connection, opts={"fn": missing_steps})
    with Operations.context(context):
        context.run_migrations()
    connection.commit()
