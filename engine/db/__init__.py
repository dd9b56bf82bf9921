"""Databases: reads, the group-commit writer, and one migration history per owner of tables."""
