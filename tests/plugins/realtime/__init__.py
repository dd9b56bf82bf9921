"""Tests of calls: turns, playback, and who holds them."""
