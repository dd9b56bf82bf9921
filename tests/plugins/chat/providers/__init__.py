"""Tests of the vendors that chat knows."""
