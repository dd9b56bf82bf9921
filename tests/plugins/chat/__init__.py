"""Tests of the plugin chat."""
