"""Tests of the features, one folder per plugin."""
