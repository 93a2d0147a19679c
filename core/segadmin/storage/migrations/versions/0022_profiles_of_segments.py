"""Profiles, descriptions and owners of segments"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import MaskedText, UtcDateTime

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "segmentprofilerow",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("profile", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["segmentsnapshot.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("snapshot_id", "segment"),
    )
    op.create_table(
        "segmentdescription",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("description", MaskedText(), nullable=False),
        sa.Column("owner", MaskedText(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("label_set", "segment", "revision"),
    )
    with op.batch_alter_table("segmentsummary", schema=None) as batch_op:
        batch_op.add_column(sa.Column("probabilities", sa.JSON(), nullable=False, server_default="[]"))
