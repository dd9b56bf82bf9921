"""Whole ways through a running server, as its users go them."""
