"""Tests of the databases, on real ones."""
