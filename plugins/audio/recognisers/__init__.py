"""Recognisers of speech that run on this machine, one file for each kind of model.

They are loaded in a process of their own (`plugins.audio.recognising_child`): the server never imports one.
"""
