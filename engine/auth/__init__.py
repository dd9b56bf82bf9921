"""Who asks, and how much they may ask for: identity, API keys, limits."""
