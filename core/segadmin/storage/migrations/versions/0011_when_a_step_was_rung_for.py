"""When a step was last rung for, instead of when it is to be rung for again; what lists and the reaper look for"""

import sqlalchemy as sa
from alembic import op

from segadmin.storage.records import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What is ready is rung for once more after the upgrade: a message too many finds nothing to do.
    with op.batch_alter_table("step", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rung_at", UtcDateTime(), nullable=True))
        batch_op.drop_column("ring_at")
        batch_op.drop_column("rings")
        batch_op.create_index("ix_step_state_rung", ["state", "rung_at", "queue"], unique=False)
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_kind")
        batch_op.create_index("ix_job_kind_state", ["kind", "state", "id"], unique=False)
        batch_op.create_index("ix_job_state", ["state", "id"], unique=False)
