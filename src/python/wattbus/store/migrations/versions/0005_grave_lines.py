"""The lines of the event log that somebody looks for: alerts, errors and warnings, without all the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    where = sa.text("type IN ('Alert', 'Assert', 'Error', 'Warning')")
    op.create_index(
        "event_log_grave", "event_log", ["type", "id"], sqlite_where=where, postgresql_where=where
    )
