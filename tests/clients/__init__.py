"""Clients that other people wrote, unmodified, each in an environment of its own, against a whole server."""
