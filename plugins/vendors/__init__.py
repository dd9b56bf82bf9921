"""What features share to speak with vendors: transport, error mapping, settings, the OpenAI-compatible chat adapter."""
