"""Users who were merged into another one"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import UtcDateTime

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usermerge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("old_key", sa.BigInteger(), nullable=False),
        sa.Column("new_key", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("moved", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("undone_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_usermerge_old_key"), "usermerge", ["old_key"])
    op.create_index(op.f("ix_usermerge_new_key"), "usermerge", ["new_key"])
