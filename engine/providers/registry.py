"""Which providers are on, and the chain that answers for a model's name."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import NamedTuple, cast

from engine.api.errors import (
    EngineError,
    FeatureDisabled,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    StorageUnavailable,
)
from engine.api.providers import ModelInfo, ObjectStore, Provider, ProviderRole, Target
from engine.providers.breaker import Breaker
from engine.providers.call import Call
from engine.providers.catalogue import Catalogue
from engine.providers.chain import Chain
from engine.providers.conversing import Converser
from engine.providers.embedding import Accounts, Embedder
from engine.providers.former import Former
from engine.providers.hearing import Listener
from engine.providers.metering import Ledgers
from engine.providers.naming import Named, Naming, OnRetired
from engine.providers.obstacle import obstacle
from engine.providers.policy import ResiliencePolicy
from engine.providers.speaking import Speaker
from engine.stats import Stats
from engine.tracing import Tracing
from engine.uses import Uses

NAMED: tuple[ProviderRole, ...] = ("chat", "embedding", "speech", "transcription", "realtime")
"""The roles whose models are asked for by name."""


class ProviderClash(ValueError):
    """Raised when two plugins bring a provider of one role and name; the message names both."""


def utc_today() -> date:
    """The day on which retirement is judged."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """What the operator says of models: names for them, which answer in place of others, and how calls are held."""

    policy: ResiliencePolicy = field(default_factory=ResiliencePolicy)
    aliases: Mapping[str, str] = field(default_factory=dict)
    fallbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default: str = "local"
    default_embedding: str | None = None
    default_speech: str = "local"
    default_transcription: str = "local"
    default_realtime: str = "local"
    retired: OnRetired = "error"


class TablesRead(NamedTuple):
    """The settings tables that a plugin's providers go by, and those of them that are others now than when they were made."""

    read: set[str]
    changed: set[str]


Changed = Callable[[str], TablesRead | None]
"""The tables of a plugin's providers; None where all of the providers are new."""


def not_there_before(plugin: str) -> None:
    """For providers of which nothing is known but whether they stay."""
    return


@dataclass(frozen=True, slots=True)
class RegistryTable:
    """What a switch replaces, in one piece: rules, providers, catalogue, and how often each provider failed."""

    rules: ModelRules
    providers: Mapping[tuple[ProviderRole, str], Provider]
    namings: Mapping[ProviderRole, Naming]
    breakers: Mapping[tuple[ProviderRole, str], Breaker]
    owners: Mapping[tuple[ProviderRole, str], str] = field(default_factory=dict)
    """The plugins that bring the providers."""
    former: Former = field(default_factory=Former)
    """What plugins brought once."""

    @property
    def naming(self) -> Naming:
        """That of chat, whose catalogue is the one of all."""
        return self.namings["chat"]

    def breakers_of(self, role: ProviderRole) -> dict[str, Breaker]:
        """Those of one role, by the provider's name."""
        return {name: breaker for (each, name), breaker in self.breakers.items() if each == role}


class Registry:
    """Implements `engine.api.Providers`.

    `entries` are providers with the name of the plugin that brings each. `fallbacks` name models to try after a model,
    under any name that it has; a fallback's own fallbacks are not followed.
    """

    def __init__(
        self,
        entries: Iterable[tuple[str, Provider]] = (),
        catalogue: Catalogue | None = None,
        rules: ModelRules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = utc_today,
        stats: Stats | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._clock = clock
        self._today = today
        self.uses: Uses[Call, Provider] = Uses()
        """Calls that run, by their provider."""
        self.ledgers = Ledgers()
        self.accounts: Accounts | None = None
        self._stats = stats or Stats()
        self._tracing = tracing or Tracing()
        self.place(self._tabulate(None, rules or ModelRules(), entries, catalogue or Catalogue()))

    def place(self, table: RegistryTable) -> None:
        """Put another table in the place of this one; chains that are already out keep theirs."""
        self._table = table
        self._stats.provider_owners = dict(table.owners.items())

    @property
    def default_model(self) -> str:
        """The model that answers when a client names none."""
        return self._table.rules.default

    def chat(self, model: str | None) -> Chain:
        """The chain for a model name; see `engine.api.Providers`."""
        table = self._table
        name = model or table.rules.default
        found: list[Named] = []
        refusal: EngineError | None = None
        try:
            primary = self._find(table, name)
            found.append(primary)
            reason = obstacle(primary.target.provider)
            if reason is not None:
                refusal = ModelUnavailable(f"{name!r} cannot be used: {reason}", field="model")
        except (ModelUnavailable, FeatureDisabled) as error:
            refusal = error
        found.extend(self._fallen_back(table, name, found))
        if refusal is not None and all(obstacle(named.target.provider) is not None for named in found):
            raise refusal
        notices = found[0].notices
        if refusal is not None and obstacle(found[0].target.provider) is None:
            notices = (("fallback", f"{found[0].target.name} answers instead of {name}: {refusal.message}"), *notices)
        return Chain(
            _distinct(found),
            table.rules.policy,
            table.breakers_of("chat"),
            notices,
            self.uses,
            self.ledgers,
            self._stats,
            self._tracing,
            asked=name,
        )

    def embedding(self, model: str | None) -> Embedder:
        """The embedding model of a name; see `engine.api.Providers`."""
        table = self._table
        name = model or table.rules.default_embedding
        if name is None:
            raise InvalidRequest(
                "no model is named and there is no default one; name one, or the operator sets [models] embedding",
                field="model",
            )
        target, breaker = self._target(table, "embedding", name)
        return Embedder(target, table.rules.policy, breaker, self.accounts, self._stats, self._tracing)

    def speech(self, model: str | None) -> Speaker:
        """The voice model of a name; see `engine.api.Providers`."""
        table = self._table
        target, breaker = self._target(table, "speech", model or table.rules.default_speech)
        return Speaker(target, table.rules.policy, breaker, self.ledgers, self._stats, self._tracing)

    def transcription(self, model: str | None) -> Listener:
        """The transcription model of a name; see `engine.api.Providers`."""
        table = self._table
        target, breaker = self._target(table, "transcription", model or table.rules.default_transcription)
        return Listener(target, table.rules.policy, breaker, self.ledgers, self._stats, self._tracing)

    def realtime(self, model: str | None) -> Converser:
        """The realtime model of a name; see `engine.api.Providers`."""
        table = self._table
        target, breaker = self._target(table, "realtime", model or table.rules.default_realtime)
        return Converser(target, breaker, self.ledgers, self._stats, self._tracing)

    def objects(self) -> ObjectStore:
        """Where files are kept; see `engine.api.Providers`."""
        table = self._table
        _require(table, "object_store")
        stores = [provider for (role, _), provider in table.providers.items() if role == "object_store"]
        ready = next((store for store in stores if obstacle(store) is None), None)
        if ready is None:
            raise StorageUnavailable(f"files cannot be kept: {obstacle(stores[0])}")
        return cast("ObjectStore", ready)

    def _target(self, table: RegistryTable, role: ProviderRole, name: str) -> tuple[Target, Breaker]:
        """The one target of a name in a role that falls back nowhere."""
        _require(table, role)
        target = table.namings[role].find(name).target
        if (reason := obstacle(target.provider)) is not None:
            raise ModelUnavailable(f"{name!r} cannot be used: {reason}", field="model")
        return target, table.breakers[role, target.provider.name]

    def get(self, role: ProviderRole, name: str) -> Provider:
        """The provider of this role and name, or `ModelUnavailable` with the reason why it cannot serve."""
        provider = self._table.providers.get((role, name))
        if provider is None:
            others = sorted(other for kind, other in self._table.providers if kind == role)
            listed = f"those that are on: {', '.join(others)}" if others else "none of that kind is on"
            raise ModelUnavailable(f"there is no {role} provider {name!r}; {listed}")
        if (reason := obstacle(provider)) is not None:
            raise ModelUnavailable(f"the {role} provider {name!r} cannot be used: {reason}")
        return provider

    def models(self, role: ProviderRole | None = None) -> tuple[ModelInfo, ...]:
        """Catalogue entries that can be used now: their provider is on and can serve, and they are not retired."""
        table = self._table
        able = {key for key, provider in table.providers.items() if obstacle(provider) is None}
        return tuple(
            info
            for info in table.naming.catalogue.entries.values()
            if role in (None, info.role) and (info.role, info.provider) in able and not table.naming.retires(info)
        )

    def known(self) -> Mapping[str, ModelInfo]:
        """Every entry of the catalogue by id."""
        return self._table.naming.catalogue.entries

    def providers(self) -> Mapping[tuple[ProviderRole, str], Provider]:
        """Every provider that is on, by role and name, whether or not it can serve."""
        return MappingProxyType(dict(self._table.providers))

    def left_alone(self) -> Mapping[tuple[str, str], bool]:
        """By role and provider: whether it failed so often that nobody is let through for now."""
        return {names: breaker.wait() > 0 for names, breaker in self.breakers().items()}

    def breakers(self) -> Mapping[tuple[str, str], Breaker]:
        """The breakers by role and provider."""
        return self._table.breakers  # type: ignore[return-value]

    def warnings(self) -> tuple[str, ...]:
        """What in `[models]` names a model that does not answer now, a sentence each; none of it stops a start."""
        return tuple(f"[models] {key}: {problem}" for key, problem in self.misnamed())

    def misnamed(self) -> list[tuple[str, str]]:
        """The same, as the key within `[models]` and what is wrong."""
        table = self._table
        rules = table.rules
        names: dict[str, tuple[str, ...]] = {"default": (rules.default,)}
        names |= {f"aliases.{alias}": (meant,) for alias, meant in rules.aliases.items()}
        names |= {f"fallbacks.{name}": (name, *models) for name, models in rules.fallbacks.items()}
        found = [(key, self._problem(model)) for key, models in names.items() for model in models]
        defaults: dict[ProviderRole, tuple[str, str | None]] = {
            "embedding": ("embedding", rules.default_embedding),
            "speech": ("speech", rules.default_speech),
            "transcription": ("transcription", rules.default_transcription),
            "realtime": ("realtime", rules.default_realtime),
        }
        # A role that no plugin of now has is in nobody's use.
        used = {role for role, _ in table.providers}
        found += [
            (key, self._misnamed(role, model)) for role, (key, model) in defaults.items() if role in used and model
        ]
        return [(key, problem) for key, problem in found if problem is not None]

    def prepared(
        self,
        entries: Iterable[tuple[str, Provider]],
        catalogue: Catalogue,
        rules: ModelRules | None = None,
        absent: Mapping[str, str] = MappingProxyType({}),
        changed: Changed = not_there_before,
    ) -> RegistryTable:
        """A table of other providers, catalogue and rules, to be put in place.

        A provider that stays keeps its breaker, and so does one that was made again with the settings that it had: of the
        tables that `changed` for a plugin's providers, `[vendors.x]` is a matter of the provider x alone, if there is one,
        and the plugin's own table is a matter of those that have no such table.
        `absent` maps plugins that take no part to why, in words. Raises `ProviderClash` where two entries have one role and
        name.
        """
        return self._tabulate(self._table, rules or self._table.rules, entries, catalogue, absent, changed)

    def _tabulate(
        self,
        before: RegistryTable | None,
        rules: ModelRules,
        entries: Iterable[tuple[str, Provider]],
        catalogue: Catalogue,
        absent: Mapping[str, str] = MappingProxyType({}),
        changed: Changed = not_there_before,
    ) -> RegistryTable:
        providers: dict[tuple[ProviderRole, str], Provider] = {}
        owners: dict[tuple[ProviderRole, str], str] = {}
        for owner, provider in entries:
            key = (provider.role, provider.name)
            if key in owners:
                raise ProviderClash(
                    f"plugins {owners[key]!r} and {owner!r} both bring the {key[0]} provider {key[1]!r}"
                )
            owners[key] = owner
            providers[key] = provider
        breakers = self._breakers(rules.policy, providers)
        if before is not None and _same_breakers(before.rules.policy, rules.policy):
            breakers |= {
                key: before.breakers[key]
                for key, provider in providers.items()
                if before.providers.get(key) is provider or _made_again(before.owners, owners, key, changed)
            }
        former = Former(owners) if before is None else before.former.later(before.naming.catalogue, catalogue, owners)
        namings = {
            role: Naming(
                _of_role(providers, role),
                catalogue,
                rules.aliases,
                rules.retired,
                self._today,
                role,
                former.absent(role, absent),
            )
            for role in NAMED
        }
        return RegistryTable(rules, providers, namings, breakers, owners, former)

    def _breakers(
        self, policy: ResiliencePolicy, keys: Iterable[tuple[ProviderRole, str]]
    ) -> dict[tuple[ProviderRole, str], Breaker]:
        return {key: Breaker(policy.breaker_failures, policy.breaker_reset, self._clock, " ".join(key)) for key in keys}

    def _find(self, table: RegistryTable, name: str) -> Named:
        try:
            return table.naming.find(name)
        except ModelNotFound as error:
            if name != table.rules.default:
                raise
            raise ModelUnavailable(
                f"the default model {name!r} is not there: {error.message}; "
                "the operator sets another in [models] default, or switches on the plugin that brings it",
                field="model",
            ) from None

    def _fallen_back(self, table: RegistryTable, name: str, primary: Sequence[Named]) -> list[Named]:
        """The fallbacks of a name that are there; one that is retired or off is passed over."""
        names = [name, *(alias for named in primary for alias in _names(named.target))]
        fallbacks = table.rules.fallbacks
        configured = next((fallbacks[alias] for alias in names if alias in fallbacks), ())
        found: list[Named] = []
        for fallback in configured:
            try:
                found.append(table.naming.find(fallback))
            except EngineError:
                continue  # named at the start by `warnings`
        return found

    def _misnamed(self, role: ProviderRole, model: str) -> str | None:
        try:
            self._table.namings[role].find(model)
        except EngineError as error:
            return error.message
        return None

    def _problem(self, model: str) -> str | None:
        table = self._table
        info = table.naming.catalogue.find(model)
        naming = table.namings.get(info.role, table.naming) if info is not None else table.naming
        try:
            reason = obstacle(naming.find(model).target.provider, places=True)
        except EngineError as error:
            return error.message
        return None if reason is None else f"{model!r} cannot be used: {reason}"


def _require(table: RegistryTable, role: ProviderRole) -> None:
    if not any(kind == role for kind, _ in table.providers):
        raise FeatureDisabled(
            f"no plugin that is on brings a provider for {role}; the operator can switch one on in [plugins] enabled"
        )


def _of_role(providers: Mapping[tuple[ProviderRole, str], Provider], wanted: ProviderRole) -> dict[str, Provider]:
    return {name: provider for (role, name), provider in providers.items() if role == wanted}


def _names(target: Target) -> tuple[str, ...]:
    """The names under which the operator may have given a target's fallbacks."""
    info = target.info
    return (f"{target.provider.name}/{target.model}", *((info.id, *info.aliases) if info else ()))


def _distinct(found: Sequence[Named]) -> tuple[Target, ...]:
    """Each target once, in order."""
    return tuple({(named.target.provider.name, named.target.model): named.target for named in found}.values())


def _same_breakers(one: ResiliencePolicy, other: ResiliencePolicy) -> bool:
    return (one.breaker_failures, one.breaker_reset) == (other.breaker_failures, other.breaker_reset)


def _made_again(
    before: Mapping[tuple[ProviderRole, str], str],
    now: Mapping[tuple[ProviderRole, str], str],
    key: tuple[ProviderRole, str],
    changed: Changed,
) -> bool:
    """Whether a provider is another object of the plugin that it was of, with the settings that it had."""
    owner = now[key]
    if before.get(key) != owner or (tables := changed(owner)) is None:
        return False
    others = {name for (_, name), each in now.items() if each == owner and name != key[1]}
    unconcerned = {f"vendors.{name}" for name in others}
    if f"vendors.{key[1]}" in tables.read:
        unconcerned.add(f"plugins.{owner}")
    return tables.changed <= unconcerned
