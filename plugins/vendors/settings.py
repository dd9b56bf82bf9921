"""The operator's `[vendors.…]` tables: keys and addresses, also read from the variables of the vendors' own SDKs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, create_model

from engine.api import SettingsTable
from plugins.vendors.addresses import COMPATIBLE_VENDORS, CompatibleVendor

OPENAI_ADDRESS = "https://api.openai.com/v1"
ANTHROPIC_ADDRESS = "https://api.anthropic.com"
DEEPGRAM_ADDRESS = "https://api.deepgram.com"
ELEVENLABS_ADDRESS = "https://api.elevenlabs.io"
GOOGLE_ADDRESS = "https://generativelanguage.googleapis.com"

_VENDOR_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_TAKEN = frozenset(
    {"openai", "anthropic", "google", "deepgram", "elevenlabs", "local", "compatible", *COMPATIBLE_VENDORS}
)


def _key(secret: SecretStr) -> SecretStr:
    """Keys travel in a header, which holds visible ASCII; files and variables often add a line end."""
    key = secret.get_secret_value().strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("must be one word of visible ASCII characters")
    return SecretStr(key)


def _address(url: str) -> str:
    """An address that a path can be added to."""
    parts = urlsplit(url.strip())
    try:
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if parts.scheme not in ("http", "https"):
        raise ValueError('must be an address that begins with http:// or https://, "https://host/v1"')
    if not known or parts.query or parts.fragment or " " in url.strip():
        raise ValueError('must be an address without a query, "https://host/v1"')
    return url.strip().rstrip("/")


def _ollama_address(url: str) -> str:
    """Ollama's own spellings: `host`, `host:port`, the address that a server binds to; all without a path."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host = "127.0.0.1" if parts.hostname in ("0.0.0.0", "::") else parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = parts.port or (443 if parts.scheme == "https" else 11434)
    except ValueError:
        raise ValueError('must be "host:port" or an address') from None
    return _address(f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/') or '/v1'}")


def _is_free(name: str) -> bool:
    return _VENDOR_NAME.fullmatch(name) is not None and name not in _TAKEN


def _custom_name(name: str) -> str:
    if not _VENDOR_NAME.fullmatch(name):
        raise ValueError("must be lower case letters, digits, dots, dashes and underscores, as in vendor/model")
    if name in _TAKEN:
        raise ValueError(f"is taken; the settings of that vendor are in [vendors.{name}]")
    return name


S = TypeVar("S", bound=SettingsTable)


def _each_key(settings: S, one: SecretStr | None, further: tuple[SecretStr, ...]) -> list[S]:
    keys = {key.get_secret_value(): key for key in (one, *further) if key is not None and key.get_secret_value()}
    return [settings.model_copy(update={"api_key": key, "api_keys": ()}) for key in keys.values()] or [settings]


ApiKey = Annotated[SecretStr, AfterValidator(_key)]
Address = Annotated[str, AfterValidator(_address)]


class VendorSettings(SettingsTable):
    """Key and address of one vendor."""

    address: ClassVar[str] = ""
    title: ClassVar[str] = ""
    key_env: ClassVar[str] = ""
    needs_key: ClassVar[bool] = True
    wrong_costs: ClassVar[str] = "table"

    api_key: ApiKey | None = Field(None, description="Key sent to the vendor.")
    api_keys: tuple[ApiKey, ...] = Field(
        (), description="Further keys; calls are spread over all, and pass over one that the vendor holds back."
    )
    base_url: Address = Field(description="Address of the vendor's API.")

    def each_key(self) -> list[Self]:
        """These settings once for each key that is set, with that key alone; as they are where none is."""
        return _each_key(self, self.api_key, self.api_keys)

    @property
    def key(self) -> str | None:
        """The key as it is sent, None where none is set."""
        return (self.api_key.get_secret_value() or None) if self.api_key else None

    @property
    def own_address(self) -> bool:
        """Whether `base_url` is the vendor's own, where the catalogue's word on its models holds."""
        return self.base_url == self.address

    @property
    def credential(self) -> str:
        """Where the key is set, for messages."""
        return f"{self.key_env} or [{self.table}] api_key"

    @property
    def unavailable(self) -> str | None:
        """What is missing before the vendor can be asked; other addresses than its own may take calls without a key."""
        if self.faults:
            return f"{self.title} is off: {self.faults['']}."
        if self.key or not (self.needs_key and self.own_address):
            return None
        return f"{self.title} needs an API key: set {self.credential}."


class OpenAISettings(VendorSettings):
    """Operator's `[vendors.openai]` table."""

    table: ClassVar[str] = "vendors.openai"
    address: ClassVar[str] = OPENAI_ADDRESS
    title: ClassVar[str] = "OpenAI"
    key_env: ClassVar[str] = "OPENAI_API_KEY"

    api_key: ApiKey | None = Field(
        None, description="Key sent to OpenAI.", json_schema_extra={"env": ["OPENAI_API_KEY"]}
    )
    base_url: Address = Field(
        OPENAI_ADDRESS,
        description="Address of OpenAI or of a server that speaks its API, with the version.",
        json_schema_extra={"env": ["OPENAI_BASE_URL"]},
    )
    api: Literal["auto", "responses", "chat_completions"] = Field(
        "auto",
        description='API for chat. "auto": Responses at OpenAI itself, except for what only Chat Completions can do; '
        "Chat Completions at any other address.",
    )
    organization: str | None = Field(
        None,
        pattern=r"^[!-~]+$",
        description="Organization that is billed.",
        json_schema_extra={"env": ["OPENAI_ORG_ID"]},
    )
    project: str | None = Field(
        None,
        pattern=r"^[!-~]+$",
        description="Project that is billed.",
        json_schema_extra={"env": ["OPENAI_PROJECT_ID"]},
    )

    @property
    def own_address(self) -> bool:
        """Whether the address is OpenAI's: its regions answer under `<region>.api.openai.com`."""
        host = urlsplit(self.base_url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")


def account_headers(settings: OpenAISettings) -> dict[str, str]:
    """Who is billed, where the operator says it."""
    fields = {"OpenAI-Organization": settings.organization, "OpenAI-Project": settings.project}
    return {name: value for name, value in fields.items() if value}


class AnthropicSettings(VendorSettings):
    """Operator's `[vendors.anthropic]` table."""

    table: ClassVar[str] = "vendors.anthropic"
    address: ClassVar[str] = ANTHROPIC_ADDRESS
    title: ClassVar[str] = "Anthropic"
    key_env: ClassVar[str] = "ANTHROPIC_API_KEY"

    api_key: ApiKey | None = Field(
        None, description="Key sent to Anthropic.", json_schema_extra={"env": ["ANTHROPIC_API_KEY"]}
    )
    base_url: Address = Field(
        ANTHROPIC_ADDRESS,
        description="Address of Anthropic or of a server that speaks its API, without the version.",
        json_schema_extra={"env": ["ANTHROPIC_BASE_URL"]},
    )


class GoogleSettings(VendorSettings):
    """Operator's `[vendors.google]` table."""

    table: ClassVar[str] = "vendors.google"
    address: ClassVar[str] = GOOGLE_ADDRESS
    title: ClassVar[str] = "Google"
    key_env: ClassVar[str] = "GEMINI_API_KEY"

    api_key: ApiKey | None = Field(
        None,
        description="Key sent to the Gemini API.",
        json_schema_extra={"env": ["GEMINI_API_KEY", "GOOGLE_API_KEY"]},
    )
    base_url: Address = Field(
        GOOGLE_ADDRESS,
        description="Address of the Gemini API or of a server that speaks it, without the version.",
        json_schema_extra={"env": ["GOOGLE_GEMINI_BASE_URL"]},
    )


class DeepgramSettings(VendorSettings):
    """Operator's `[vendors.deepgram]` table."""

    table: ClassVar[str] = "vendors.deepgram"
    address: ClassVar[str] = DEEPGRAM_ADDRESS
    title: ClassVar[str] = "Deepgram"
    key_env: ClassVar[str] = "DEEPGRAM_API_KEY"

    api_key: ApiKey | None = Field(
        None, description="Key sent to Deepgram.", json_schema_extra={"env": ["DEEPGRAM_API_KEY"]}
    )
    base_url: Address = Field(
        DEEPGRAM_ADDRESS,
        description="Address of Deepgram or of a server that speaks its API, without the version.",
    )


class ElevenLabsSettings(VendorSettings):
    """Operator's `[vendors.elevenlabs]` table."""

    table: ClassVar[str] = "vendors.elevenlabs"
    address: ClassVar[str] = ELEVENLABS_ADDRESS
    title: ClassVar[str] = "ElevenLabs"
    key_env: ClassVar[str] = "ELEVENLABS_API_KEY"

    api_key: ApiKey | None = Field(
        None, description="Key sent to ElevenLabs.", json_schema_extra={"env": ["ELEVENLABS_API_KEY"]}
    )
    base_url: Address = Field(
        ELEVENLABS_ADDRESS,
        description="Address of ElevenLabs or of a server that speaks its API, without the version.",
    )


class CompatibleServer(SettingsTable):
    """One server under `[vendors.compatible.servers.<name>]`."""

    base_url: Address = Field(description="Address of the server's OpenAI-compatible API, with the version.")
    api_key: ApiKey | None = Field(None, description="Key sent to the server, if it wants one.")
    api_keys: tuple[ApiKey, ...] = Field((), description="Further keys; calls are spread over all.")

    def each_key(self) -> list[Self]:
        """These settings once for each key that is set, with that key alone; as they are where none is."""
        return _each_key(self, self.api_key, self.api_keys)

    @property
    def key(self) -> str | None:
        """The key as it is sent, None where none is set."""
        return (self.api_key.get_secret_value() or None) if self.api_key else None


class CompatibleSettings(SettingsTable):
    """Operator's `[vendors.compatible]` table: further servers that speak Chat Completions."""

    table: ClassVar[str] = "vendors.compatible"
    wrong_costs: ClassVar[str] = "servers"

    servers: Mapping[Annotated[str, AfterValidator(_custom_name)], CompatibleServer] = Field(
        default_factory=dict,
        description="OpenAI-compatible servers by the name that stands before the slash in a model's name, "
        'for example { lab = { base_url = "http://10.0.0.5:8000/v1" } }.',
    )

    @property
    def broken_servers(self) -> Mapping[str, str]:
        """Servers that were named and cannot be asked, each with the reason."""
        return {name: reason for name, reason in self.faults.items() if _is_free(name)}


def _settings_of(vendor: CompatibleVendor) -> type[VendorSettings]:
    """The table `[vendors.<name>]` of one vendor of the table of addresses."""
    address = Annotated[str, AfterValidator(_ollama_address)] if vendor.name == "ollama" else Address
    fields: dict[str, Any] = {
        "api_key": (
            ApiKey | None,
            Field(None, description=f"Key sent to {vendor.title}.", json_schema_extra={"env": list(vendor.key_env)}),
        ),
        "base_url": (
            address,
            Field(
                vendor.address,
                description=f"Address of {vendor.title} or of a server that speaks its API.",
                json_schema_extra={"env": list(vendor.address_env)},
            ),
        ),
    }
    model = create_model(
        f"{vendor.title}Settings",
        __base__=VendorSettings,
        __doc__=f"Operator's `[vendors.{vendor.name}]` table.",
        __module__=__name__,
        **fields,
    )
    model.table = f"vendors.{vendor.name}"
    model.address = vendor.address
    model.title = vendor.title
    model.key_env = vendor.key_env[0]
    model.needs_key = vendor.needs_key
    return model


COMPATIBLE_SETTINGS: Mapping[str, type[VendorSettings]] = {
    name: _settings_of(vendor) for name, vendor in COMPATIBLE_VENDORS.items()
}
"""The table of each OpenAI-compatible vendor, by its name."""
