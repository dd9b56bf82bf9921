"""Tests of what features share to speak with vendors."""
