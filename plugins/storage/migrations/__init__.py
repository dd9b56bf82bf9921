"""The revisions of the tables of stored objects."""
