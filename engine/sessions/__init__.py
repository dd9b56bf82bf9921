"""Turns and sessions: who runs the work, and who watches it."""
