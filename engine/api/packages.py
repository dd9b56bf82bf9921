"""Heavy libraries, imported when they are first needed and never on the event loop."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from threading import Lock

from engine.api.errors import ModelUnavailable

_ONE_AT_A_TIME = Lock()
"""Two threads inside of one package can each wait for a module that the other is in the middle of."""


async def load_packages(module: str, *more: str, extra: str) -> None:
    """Import modules in a thread, where they are not imported yet; an `import` after that costs nothing.

    Raises `ModelUnavailable` that says how to install them, or why they cannot be loaded.
    """
    wanted = [name for name in (module, *more) if name not in sys.modules or _is_half(name)]
    if wanted:
        await asyncio.to_thread(_load, wanted, extra)


def _is_half(name: str) -> bool:
    """Whether another thread is in the middle of the module."""
    return bool(getattr(getattr(sys.modules[name], "__spec__", None), "_initializing", False))


def _load(names: list[str], extra: str) -> None:
    with _ONE_AT_A_TIME:
        for name in names:
            try:
                import_module(name)
            except ModuleNotFoundError as error:
                missing = error.name or name
                hint = f"pip install 'betterai-engine[{extra}]'"
                raise ModelUnavailable(f"the package {missing} is not installed: {hint}") from None
            except (ImportError, OSError) as error:
                raise ModelUnavailable(f"the package {name} cannot be loaded: {error}") from None
