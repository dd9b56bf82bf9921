"""The history of the engine's own tables."""
