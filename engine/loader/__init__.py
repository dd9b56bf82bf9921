"""Finds plugins, puts them in order, checks what they bring, and switches them."""
