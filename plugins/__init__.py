"""The features and what they share: one folder per plugin, switched on by name in the configuration."""
