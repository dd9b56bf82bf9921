"""Tests of the token-owned event bus."""
