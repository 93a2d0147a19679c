"""Canaries: challengers that score a share of the users"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import UtcDateTime

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canary",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("champion_id", sa.Integer(), nullable=False),
        sa.Column("challenger_id", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("salt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("comparison", sa.JSON(), nullable=False),
        sa.Column("compared_as_of", UtcDateTime(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["champion_id"], ["modelversion.id"]),
        sa.ForeignKeyConstraint(["challenger_id"], ["modelversion.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_canary_label_set"), "canary", ["label_set"])
    running = sa.text("state = 'running'")
    op.create_index(
        "ix_canary_running", "canary", ["label_set"], unique=True, sqlite_where=running, postgresql_where=running
    )
    with op.batch_alter_table("segmentsnapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("canary_id", sa.Integer(), nullable=True))
