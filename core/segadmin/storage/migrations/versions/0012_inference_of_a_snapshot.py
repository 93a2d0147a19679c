"""How the probabilities of a snapshot were computed"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("segmentsnapshot", schema=None) as batch_op:
        batch_op.add_column(sa.Column("inference", sa.JSON(), nullable=False, server_default="[]"))
