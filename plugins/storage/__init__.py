"""Files that the server keeps for its callers, each with an owner, an end and links that expire."""
