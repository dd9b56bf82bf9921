"""Chat with a language model on this machine, with no key and no network."""
