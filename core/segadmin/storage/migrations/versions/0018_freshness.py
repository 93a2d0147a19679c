"""How fresh snapshots are, and objectives of schedules"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import UtcDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("segmentsnapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("newest_event", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("freshness", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.add_column(sa.Column("freshness_seconds", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("missed_since", UtcDateTime(), nullable=True))
