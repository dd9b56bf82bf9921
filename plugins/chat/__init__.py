"""Conversations with models: `chat.send`, its history, its tools, and the vendors that answer."""
