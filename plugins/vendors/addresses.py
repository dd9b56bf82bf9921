"""The vendors that speak Chat Completions like OpenAI: one table of where they are and what is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from plugins.vendors.dialect import COMMON, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibleVendor:
    """One vendor. `key_env` and `address_env` are the variables of its own tools; `needs_key` is false for local ones."""

    name: str
    title: str
    address: str
    key_env: tuple[str, ...] = ()
    address_env: tuple[str, ...] = ()
    needs_key: bool = True
    dialect: Dialect = COMMON


_VENDORS = (
    CompatibleVendor(
        name="groq",
        title="Groq",
        address="https://api.groq.com/openai/v1",
        key_env=("GROQ_API_KEY",),
        address_env=("GROQ_BASE_URL",),
        dialect=Dialect(max_tokens="max_completion_tokens", efforts=("none", "low", "medium", "high"), top_k=False),
    ),
    CompatibleVendor(
        name="deepseek",
        title="DeepSeek",
        address="https://api.deepseek.com/v1",
        key_env=("DEEPSEEK_API_KEY",),
        address_env=("DEEPSEEK_BASE_URL",),
        dialect=Dialect(efforts=(), reasoning_back="reasoning_content", top_k=False),
    ),
    CompatibleVendor(
        name="xai",
        title="xAI",
        address="https://api.x.ai/v1",
        key_env=("XAI_API_KEY",),
        address_env=("XAI_BASE_URL",),
        dialect=Dialect(max_tokens="max_completion_tokens", efforts=("low", "high"), top_k=False),
    ),
    CompatibleVendor(
        name="perplexity",
        title="Perplexity",
        address="https://api.perplexity.ai",
        key_env=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        address_env=("PERPLEXITY_BASE_URL",),
        dialect=Dialect(include_usage=False, efforts=("minimal", "low", "medium", "high"), web_search="always"),
    ),
    CompatibleVendor(
        name="mistral",
        title="Mistral",
        address="https://api.mistral.ai/v1",
        key_env=("MISTRAL_API_KEY",),
        address_env=("MISTRAL_BASE_URL",),
        dialect=Dialect(seed="random_seed", include_usage=False, efforts=("none", "high"), top_k=False),
    ),
    CompatibleVendor(
        name="openrouter",
        title="OpenRouter",
        address="https://openrouter.ai/api/v1",
        key_env=("OPENROUTER_API_KEY",),
        address_env=("OPENROUTER_BASE_URL",),
        dialect=Dialect(reasoning_object=True, web_search="plugin", cache_control=True),
    ),
    CompatibleVendor(
        name="ollama",
        title="Ollama",
        address="http://127.0.0.1:11434/v1",
        key_env=("OLLAMA_API_KEY",),
        address_env=("OLLAMA_HOST",),
        needs_key=False,
        dialect=Dialect(efforts=("none", "low", "medium", "high")),
    ),
)

COMPATIBLE_VENDORS: Mapping[str, CompatibleVendor] = MappingProxyType({vendor.name: vendor for vendor in _VENDORS})
"""By the name that stands before the slash in `vendor/model`."""
