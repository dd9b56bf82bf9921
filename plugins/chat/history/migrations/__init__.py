"""The history of the chat plugin's tables."""
