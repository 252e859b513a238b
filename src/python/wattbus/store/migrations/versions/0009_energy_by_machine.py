"""Energy by machine: which machine a reading is of, and which of its processes counts it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "energy_intervals", sa.Column("host", sa.String(length=128), nullable=False, server_default="")
    )
    op.execute(
        "UPDATE energy_intervals SET host = coalesce((SELECT instances.host FROM instances "
        "WHERE instances.id = energy_intervals.instance), '')"
    )
    op.add_column(
        "energy_bucket_hours", sa.Column("host", sa.String(length=128), nullable=False, server_default="")
    )
    op.execute("DELETE FROM energy_bucket_hours")  # made of the readings again, machine by machine
    op.create_table(
        "energy_readers",
        sa.Column("machine", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=128), nullable=False),
        sa.Column("tier", sa.String(length=20), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("counted_until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine"),
    )
