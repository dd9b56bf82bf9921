"""The HTTP face of the engine: routes, problems, guards and the documents that describe them."""
