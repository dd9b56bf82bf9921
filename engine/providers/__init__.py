"""Providers by name, the model catalogue, and the resilience around every call."""

from engine.providers.catalogue import Catalogue, CatalogueClash, is_retired, load_catalogue
from engine.providers.catalogue_file import read_catalogue, shipped_catalogue
from engine.providers.chain import Chain
from engine.providers.estimating import tokens_of
from engine.providers.policy import ResiliencePolicy
from engine.providers.pricing import cost_of
from engine.providers.registry import ProviderClash, Registry

__all__ = (
    "Catalogue",
    "CatalogueClash",
    "Chain",
    "ProviderClash",
    "Registry",
    "ResiliencePolicy",
    "cost_of",
    "is_retired",
    "load_catalogue",
    "read_catalogue",
    "shipped_catalogue",
    "tokens_of",
)
