"""Tests of identity, keys and limits."""
