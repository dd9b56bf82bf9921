"""Chat with Acme's models."""
