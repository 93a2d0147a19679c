"""Snapshots that hold only what changed"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("segmentsnapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("earlier_parts", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("rescored_by", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("lake_versions", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("everyone_read_at", UtcDateTime(), nullable=True))
