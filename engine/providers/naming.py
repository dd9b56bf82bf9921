"""From a model's name, as a client or the operator spells it, to the provider and model that are meant."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from engine.api.errors import EngineError, FeatureDisabled, ModelNotFound, ModelRetired, ModelUnavailable
from engine.api.providers import ModelInfo, Provider, ProviderRole, Target
from engine.providers.catalogue import Catalogue, is_retired

OnRetired = Literal["error", "successor"]

_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means: a target, and what the client is told about how it came to it."""

    target: Target
    notices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Naming:
    """Finds targets by name, for the providers of one role that are on.

    A name is, in this order: an alias of the operator, an id or alias of the catalogue, `vendor/model`, or the name of a
    provider that has a default model of its own (an attribute `default_model`). What follows `vendor/` may be unknown to
    the catalogue: it goes to the vendor as it is. A provider whose attribute `own_address` is False speaks to another
    address than its vendor's, so that the catalogue's knowledge is not checked there.
    """

    providers: Mapping[str, Provider]
    catalogue: Catalogue
    aliases: Mapping[str, str]
    retired: OnRetired
    today: Callable[[], date]
    role: ProviderRole = "chat"
    absent: Mapping[str, str] = field(default_factory=dict)
    """Names of providers and models whose plugin takes no part, each with words that name the plugin and say why."""
    _found: dict[tuple[str, date], Named] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> Named:
        """The target of a name.

        Raises `ModelNotFound`, `ModelRetired`, `FeatureDisabled` if its plugin takes no part, or `ModelUnavailable` if no
        plugin that is known provides it.
        """
        asked = name, self.today()
        if (known := self._found.get(asked)) is not None:
            return known
        named = self._find(name)
        if self._unalias(name) in self.providers:
            return named  # its default model may change while it runs
        if len(self._found) >= _REMEMBERED:
            self._found.clear()  # names come from clients, who may make up any number of them
        self._found[asked] = named
        return named

    def _find(self, name: str) -> Named:
        meant = self._unalias(name)
        if (info := self.catalogue.find(meant)) is not None and (info.role == self.role or not self._own(meant)):
            return self._listed(name, info, seen=())
        vendor, slash, model = meant.partition("/")
        if slash and model and vendor in self.providers:
            return self._vendors(name, vendor, model)
        default = getattr(self.providers.get(meant), "default_model", None)
        if default is not None:
            return self._vendors(name, meant, default)
        raise self._missing(name, meant)

    def retires(self, info: ModelInfo) -> bool:
        """True where the vendor has closed the model, as far as that matters for the address that answers."""
        return is_retired(info, self.today()) and _own_address(self.providers.get(info.provider))

    def _unalias(self, name: str) -> str:
        seen = {name}
        while (meant := self.aliases.get(name)) is not None and meant not in seen:
            seen.add(name := meant)
        return name

    def _own(self, name: str) -> bool:
        """Whether a provider of this role answers to a name that stands for another role's model, too: `local` does."""
        return getattr(self.providers.get(name), "default_model", None) is not None

    def _vendors(self, asked: str, vendor: str, model: str) -> Named:
        info = self.catalogue.of(vendor, model)
        if info is not None:
            return self._listed(asked, info, seen=())
        provider = self.providers[vendor]
        return Named(Target(provider, model, None, checked=_own_address(provider)))

    def _listed(self, asked: str, info: ModelInfo, seen: tuple[str, ...]) -> Named:
        if info.role != self.role:
            raise ModelNotFound(f"{asked!r} is a model for {info.role}, not for {self.role}", field="model")
        if self.retires(info):
            return self._succeeded(asked, info, seen)
        provider = self.providers.get(info.provider)
        if provider is None:
            if (why := self.absent.get(info.provider)) is not None:
                raise FeatureDisabled(f"{asked!r} belongs to {why}", field="model")
            raise ModelUnavailable(
                f"{asked!r} is served by {info.provider!r}, and no plugin that is on provides it; "
                "the operator can switch one on in [plugins] enabled",
                field="model",
            )
        return Named(Target(provider, info.vendor_model, info, checked=_own_address(provider)))

    def _succeeded(self, asked: str, info: ModelInfo, seen: tuple[str, ...]) -> Named:
        """The target of the successor, if there is one and the operator wants it to answer."""
        gone = f"{info.id} was retired by its vendor on {info.retires_on}"
        if info.successor is None:
            raise ModelRetired(f"{gone}; it has no successor, choose another model", field="model")
        if self.retired == "error" or info.id in seen:
            raise ModelRetired(f"{gone}; use {self._latest(info).successor} instead", field="model")
        successor = self.catalogue.find(info.successor)
        found = self._listed(asked, successor, (*seen, info.id)) if successor else self.find(info.successor)
        notice = ("successor", f"{gone}; {found.target.name} answers instead")
        return replace(found, notices=(notice,))

    def _latest(self, info: ModelInfo) -> ModelInfo:
        """The last entry of a line of retired models: its successor is the one to use."""
        seen = {info.id}
        while info.successor and (heir := self.catalogue.find(info.successor)) is not None and heir.id not in seen:
            if not self.retires(heir) or heir.successor is None:
                break
            seen.add(heir.id)
            info = heir
        return info

    def _missing(self, name: str, meant: str) -> EngineError:
        vendor, slash, model = meant.partition("/")
        why = self.absent.get(meant) or (self.absent.get(vendor) if vendor not in self.providers else None)
        if why is not None and meant not in self.providers:
            return FeatureDisabled(f"{name[:100]!r} belongs to {why}", field="model")
        if slash and model and vendor in self.catalogue.providers:
            return ModelUnavailable(
                f"{name!r} names the provider {vendor!r}, and no plugin that is on provides it", field="model"
            )
        if meant in self.providers:
            return ModelNotFound(f"{name!r} is a provider; name one of its models as {meant}/<model>", field="model")
        return ModelNotFound(f"there is no model {name[:100]!r}{self._hint(meant)}", field="model")

    def _hint(self, meant: str) -> str:
        """The nearest names, those of providers that are on first."""
        listed = self.catalogue.names
        served = [name for name in listed if (info := self.catalogue.find(name)) and info.provider in self.providers]
        usable = dict.fromkeys([*served, *self.aliases, *self.providers])
        near = difflib.get_close_matches(meant, usable, 3) or difflib.get_close_matches(meant, listed, 3)
        if not near:
            return "; `betterai models` and GET /api/v1/models list those that can be used"
        return f"; did you mean {' or '.join(repr(name) for name in near)}?"


def _own_address(provider: Provider | None) -> bool:
    return bool(getattr(provider, "own_address", True))
