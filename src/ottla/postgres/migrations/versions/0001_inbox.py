"""The inbox: which listener has ended which event, and how."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(schema: str) -> None:
    """Make the table and the index that pruning reads."""
    op.execute(f"""
        CREATE TABLE {schema}.inbox (
            listener text NOT NULL,
            event_id text NOT NULL,
            digest bytea NOT NULL CHECK (octet_length(digest) = 32),
            status text NOT NULL CHECK (status IN ('done', 'dead_pending', 'dead')),
            first_seen_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (listener, event_id)
        )
    """)
    op.execute(f"CREATE INDEX inbox_ended ON {schema}.inbox (updated_at) WHERE status <> 'dead_pending'")
