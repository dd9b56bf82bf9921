"""`betterai chat`: talk with a server's models from the terminal."""

from plugins.chat.terminal.command import register

__all__ = ("register",)
