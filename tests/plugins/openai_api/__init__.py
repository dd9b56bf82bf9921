"""Tests of the plugin openai_api."""
