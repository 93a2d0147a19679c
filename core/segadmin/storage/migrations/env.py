"""Alembic's entry: :func:`segadmin.storage.database.upgrade` passes the connection."""

from alembic import context
from sqlmodel import SQLModel

import segadmin.storage.records  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_type=True,
    render_as_batch=True,
)
context.run_migrations()
