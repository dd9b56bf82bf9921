"""What the operator is told when a setting is wrong."""

from collections.abc import Sequence

from engine.config.keys import KeyPath


class ConfigError(Exception):
    """One setting that cannot be used. Never carries the value of a secret."""

    def __init__(
        self,
        *,
        key: str,
        origin: str | None,
        message: str,
        nearest: str | None = None,
        public: str | None = None,
        path: KeyPath = (),
    ) -> None:
        super().__init__(key, origin, message, nearest)
        self.key = key
        self.origin = origin
        self.message = message
        self.nearest = nearest
        self.public = f"{key}: {public or message}"
        """The problem without files' places and given values, for those who may not see the operator's settings."""
        self.path = path
        """The steps of the key; empty where nothing stands in the configuration."""

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        head = f"{self.key}{place}" if self.key else (self.origin or "configuration")
        return f"{head}: {self.message}{hint}"


class ConfigErrors(ConfigError):
    """Every problem found in one go; as a `ConfigError` it stands for the first of them."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(key=first.key, origin=first.origin, message=first.message, nearest=first.nearest)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        count = len(self.errors)
        title = "1 problem in the configuration:" if count == 1 else f"{count} problems in the configuration:"
        return "\n".join([title, *(f"  {error}" for error in self.errors)])
