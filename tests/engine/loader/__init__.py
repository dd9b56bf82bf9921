"""Tests of finding, checking and switching plugins."""
