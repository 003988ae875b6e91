"""The outbox: records that leave for Kafka if and only if their transaction commits."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(schema: str) -> None:
    """Make the table; dead letters leave through it, so no event is `dead_pending` any more.

    An event that is has had no effect, and its record is not committed: it comes again.

    `stripe` is crc32 of topic, a zero byte and key, modulo 1024: writers lock it. Rows live
    for milliseconds, so vacuum comes by their number and not by the table's size.
    """
    op.execute(f"""
        CREATE TABLE {schema}.outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            stripe smallint NOT NULL,
            topic text NOT NULL,
            key bytea,
            value bytea,
            headers json NOT NULL,
            partition integer,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        ) WITH (
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
            autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 5000
        )
    """)
    op.execute(f"DELETE FROM {schema}.inbox WHERE status = 'dead_pending'")  # noqa: S608  checked name
    op.execute(f"ALTER TABLE {schema}.inbox DROP CONSTRAINT inbox_status_check")
    op.execute(f"ALTER TABLE {schema}.inbox ADD CHECK (status IN ('done', 'dead'))")
    op.execute(f"DROP INDEX {schema}.inbox_ended")
    op.execute(f"CREATE INDEX inbox_ended ON {schema}.inbox (updated_at)")
