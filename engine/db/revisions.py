"""The re-runnable migration steps of the public door, under the name that this layer uses."""

from engine.api.revisions import (
    add_column_if_missing,
    create_index_if_missing,
    create_table_if_missing,
    drop_column_if_there,
    drop_index_if_there,
    drop_table_if_there,
)

__all__ = (
    "add_column_if_missing",
    "create_index_if_missing",
    "create_table_if_missing",
    "drop_column_if_there",
    "drop_index_if_there",
    "drop_table_if_there",
)
