"""From the model that an OpenAI client names to the one that the engine knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from engine.api import EmbeddingModel, EngineError, ModelNotFound, Providers, Target

M = TypeVar("M")

_WINDOW = re.compile(r"\[\d+[km]\]$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """A model under the engine's name for it, and the target that answers for it first."""

    name: str | None
    target: Target


class ModelNames:
    """Finds models by the names of the engine; a bare name that it does not know goes to `default_vendor`."""

    def __init__(self, providers: Providers, default_vendor: str) -> None:
        self._providers = providers
        self._default_vendor = default_vendor

    def find(self, name: str | None) -> Named:
        """The model of this name; None is the configured default.

        Raises what `Providers.chat` raises for the name as it was given.
        """
        try:
            return self._named(name)
        except ModelNotFound as unknown:
            found = self._of_default_vendor(name)
            if found is None:
                raise unknown from None
            return found

    def find_in_window(self, name: str | None) -> tuple[Named, str]:
        """The model of this name, and what was left out at its end: a wish for a context of that size, as `[1m]`.

        A name of the operator's own may end so, too.
        """
        window = _WINDOW.search(name or "")
        if name is None or window is None:
            return self.find(name), ""
        try:
            return self.find(name[: window.start()]), window[0]
        except ModelNotFound as unknown:
            try:
                return self.find(name), ""
            except EngineError:
                raise unknown from None

    def _of_default_vendor(self, name: str | None) -> Named | None:
        """The default vendor's model of this name, where that vendor is on and has its key."""
        if not name or "/" in name:
            return None
        try:
            return self._named(f"{self._default_vendor}/{name}")
        except EngineError:
            return None

    def _named(self, name: str | None) -> Named:
        return Named(name, self._providers.chat(name).targets[0])


def embedding_named(providers: Providers, name: str | None, default_vendor: str) -> EmbeddingModel:
    """The embedding model of a name; a bare one that the engine does not know goes to the default vendor, too."""
    return _found(providers.embedding, name, default_vendor)[1]


def speech_named(providers: Providers, name: str | None, default_vendor: str) -> str | None:
    """The engine's name for a voice model, found likewise."""
    return _found(providers.speech, name, default_vendor)[0]


def transcription_named(providers: Providers, name: str | None, default_vendor: str) -> str | None:
    """The engine's name for a transcription model, found likewise."""
    return _found(providers.transcription, name, default_vendor)[0]


def realtime_named(providers: Providers, name: str | None, default_vendor: str) -> str:
    """The engine's name for a model that holds calls, found likewise."""
    found, model = _found(providers.realtime, name, default_vendor)
    return found or model.target.name


def _found(find: Callable[[str | None], M], name: str | None, default_vendor: str) -> tuple[str | None, M]:
    try:
        return name, find(name)
    except ModelNotFound as unknown:
        if not name or "/" in name:
            raise
        try:
            return f"{default_vendor}/{name}", find(f"{default_vendor}/{name}")
        except EngineError:
            raise unknown from None
