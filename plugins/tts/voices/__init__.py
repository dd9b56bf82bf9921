"""Voices of this machine that a process holds: each a module that the process imports when it was chosen.

Only `phonemes` and `voice` are imported by all: the libraries of the others may not be installed.
"""
