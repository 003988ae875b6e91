"""Run by Alembic: the connection, its transaction and its lock are `upgrade`'s."""

from __future__ import annotations

from alembic import context

from ottla.postgres.database import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=context.config.attributes["schema"],
)
context.run_migrations(schema=context.config.attributes["schema"])
