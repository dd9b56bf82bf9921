"""Tests of turns and sessions."""
