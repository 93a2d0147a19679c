"""Corrections of users' segments, and what hysteresis held back in a snapshot"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import MaskedText, UtcDateTime

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "correction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("reason", MaskedText(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("withdrawn_at", UtcDateTime(), nullable=True),
        sa.Column("withdrawn_by", sa.String(), nullable=False),
        sa.Column("withdrawn_because", MaskedText(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_correction_label_set_user_key", "correction", ["label_set", "user_key"])
    with op.batch_alter_table("segmentsnapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("moved_without_hysteresis", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("corrected", sa.Integer(), nullable=False, server_default="0"))
