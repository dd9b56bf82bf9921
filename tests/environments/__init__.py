"""The server in the environments that users have, not in the one that developers have."""
