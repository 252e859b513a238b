"""An index of the trainings, so that their list is found among a million other messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TRAININGS = "body_class = 'wattbus.messages.TrainRequest' AND type = 'Request'"


def upgrade() -> None:
    where = sa.text(_TRAININGS)
    op.create_index("messages_trainings", "messages", ["id"], sqlite_where=where, postgresql_where=where)
