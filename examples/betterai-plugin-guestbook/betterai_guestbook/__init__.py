"""A guest book in a BetterAI engine."""
