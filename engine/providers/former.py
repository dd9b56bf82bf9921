"""What plugins brought at some time, so that whoever asks for it hears which plugin is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.api.providers import ProviderRole
from engine.providers.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Former:
    """Providers and models of now and before, with the plugins that brought them."""

    owners: Mapping[tuple[ProviderRole, str], str] = field(default_factory=dict)
    """Plugins by role and provider."""
    models: Mapping[str, tuple[ProviderRole, str]] = field(default_factory=dict)
    """Role and provider by the names of models that no catalogue of now holds."""

    def later(self, old: Catalogue, new: Catalogue, owners: Mapping[tuple[ProviderRole, str], str]) -> Former:
        """The same after a switch that brings another catalogue and other providers."""
        lost = {
            name: (info.role, info.provider)
            for name in old.names
            if new.find(name) is None and (info := old.find(name)) is not None
        }
        return Former({**self.owners, **owners}, {**self.models, **lost})

    def absent(self, role: ProviderRole, absent: Mapping[str, str]) -> dict[str, str]:
        """Names of a role's providers and models to why they are not there, given why plugins are not.

        A provider that was never seen is looked for under its plugin's name.
        """
        found = dict(absent)
        found |= {
            name: absent[owner] for (kind, name), owner in self.owners.items() if kind == role and owner in absent
        }
        lost = {name: found[owner] for name, (kind, owner) in self.models.items() if kind == role and owner in found}
        return {**lost, **found}
