"""Tests of the conversation history."""
