"""Saved searches, and the newest dead letters in the order of their ids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_DEAD = "status IN ('Error', 'Suspended')"


def upgrade() -> None:
    op.create_table(
        "saved_searches",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.String(length=128), nullable=False),
        sa.Column("saved_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(
        "messages_dead_by_id",
        "messages",
        ["id"],
        sqlite_where=sa.text(_DEAD),
        postgresql_where=sa.text(_DEAD),
    )
