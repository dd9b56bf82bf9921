"""The BetterAI engine: sessions, streams, providers and plugins behind one server."""
