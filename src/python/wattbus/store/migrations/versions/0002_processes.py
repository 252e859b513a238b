"""Processes that wait for responses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("response_class", sa.String(length=256), nullable=False),
        sa.Column("response_json", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    with op.batch_alter_table("processes", schema=None) as batch_op:
        batch_op.create_index("processes_by_item", ["item"], unique=False)
    for name, table, columns, where in (
        ("messages_resent", "messages", ["resent", "body_id"], "resent IS NOT NULL"),
        ("messages_dead", "messages", ["target_item", "id"], "status IN ('Error', 'Suspended')"),
        ("bodies_out_of_line", "bodies", ["sha256"], "json IS NULL"),
    ):
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
