"""Runs one owner's history with Alembic, without its ini file and env.py."""

from __future__ import annotations

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from engine.db.history import Migrations


def run_history(connection: Connection, history: Migrations) -> None:
    """Upgrade the tables of one owner to its head, each revision in its own transaction."""
    script = ScriptDirectory(history.path, version_locations=[history.path])

    def steps(revision: object, context: MigrationContext) -> object:
        return script._upgrade_revs(history.line[-1], revision)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), script, fn=steps, destination_rev=history.line[-1]) as environment:
        environment.configure(
            connection=connection,
            target_metadata=history.metadata,
            version_table=history.version_table,
            transactional_ddl=connection.dialect.name == "sqlite",
            transaction_per_migration=True,
        )
        with environment.begin_transaction():
            environment.run_migrations()
    connection.commit()
