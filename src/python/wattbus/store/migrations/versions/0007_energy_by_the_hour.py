"""Energy by time: indexes for a span, and the sums of the hours that are over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("energy_by_time", "energy", ["started_at_us"])
    op.create_index("energy_intervals_by_time", "energy_intervals", ["started_at_us"])
    op.create_table(
        "energy_hours",
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.String(length=128), nullable=False),
        sa.Column("operation_kind", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=128), nullable=True),
        sa.Column("revision", sa.String(length=128), nullable=True),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("tier", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.Column("joules", sa.Float(), nullable=True),
        sa.Column("low_joules", sa.Float(), nullable=True),
        sa.Column("high_joules", sa.Float(), nullable=True),
        sa.Column("bounded", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=True),
        sa.Column("carbon_grams", sa.Float(), nullable=True),
        sa.Column("with_carbon", sa.BigInteger(), nullable=False),
    )
    op.create_index("energy_hours_by_time", "energy_hours", ["hour_us"])
    op.create_table(
        "energy_bucket_hours",
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.String(length=20), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("total_joules", sa.Float(), nullable=False),
        sa.Column("operations_joules", sa.Float(), nullable=False),
        sa.Column("idle_joules", sa.Float(), nullable=False),
        sa.Column("others_joules", sa.Float(), nullable=False),
        sa.Column("overhead_joules", sa.Float(), nullable=False),
    )
    op.create_index("energy_bucket_hours_by_time", "energy_bucket_hours", ["hour_us"])
