"""The token-owned event bus: streams are append-only logs, readers are cursors into them."""
