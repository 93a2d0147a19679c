"""Ignored rows and warnings of imports"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("import", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_rows", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("rows_ignored", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))
    op.execute('UPDATE "import" SET source_rows = rows_read')
