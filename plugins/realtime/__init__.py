"""Conversations by voice, both ways at once: at a vendor, or by any models of this server that hear, think and speak."""
