"""Conversations that outlive their turns: kept as trees of messages, searched, changed and exported."""
