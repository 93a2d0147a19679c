"""The changes of current snapshots, and the feeds that receive them"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import MaskedText, UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "snapshotswitch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("from_id", sa.Integer(), nullable=True),
        sa.Column("to_id", sa.Integer(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_snapshotswitch_label_set"), "snapshotswitch", ["label_set"])
    op.create_table(
        "configuredfeed",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", MaskedText(), nullable=True),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(op.f("ix_configuredfeed_label_set"), "configuredfeed", ["label_set"])
    # The feed of a store from before begins with the snapshot that is current now: all its users enter.
    op.execute(
        "INSERT INTO snapshotswitch (label_set, to_id, created_at) "
        "SELECT snapshot.label_set, snapshot.id, COALESCE(snapshot.published_at, snapshot.created_at) "
        'FROM "current" AS pointer JOIN segmentsnapshot AS snapshot ON snapshot.id = pointer.target_id '
        "WHERE pointer.name = 'snapshot:' || snapshot.label_set"
    )
