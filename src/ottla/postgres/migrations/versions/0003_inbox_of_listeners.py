"""The inbox is pruned per listener: services that share a database have windows of their own."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(schema: str) -> None:
    """Make the index that pruning reads now, in place of the one that it read."""
    op.execute(f"CREATE INDEX inbox_ended_of_listener ON {schema}.inbox (listener, updated_at)")
    op.execute(f"DROP INDEX {schema}.inbox_ended")
