"""The engine's own tables. Their defaults are the defaults of the product; their descriptions are its documentation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticKnownError

from engine.config.keys import nearest
from engine.config.secrecy import mask_text

KIB = 1024
MIB = 1024 * KIB


class Settings(BaseModel):
    """A table: read once, never changed, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    holds_tables: ClassVar[bool] = False
    """Whether tables inside this one belong to others and are none of its keys."""


def _web_address(url: str) -> str:
    if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
        raise ValueError('must be an address that begins with http:// or https://, such as "https://ai.example.com"')
    return url


WebAddress = Annotated[str, AfterValidator(_web_address)]


class ServerSettings(Settings):
    """Operator's `[server]` table."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description='Address to listen on. Any other than a loopback address needs [auth] mode = "keys".',
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    public_url: WebAddress | None = Field(
        default=None,
        examples=["https://ai.example.com"],
        description="Address under which clients reach this server, for links in answers; unset: the request's own.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description='Origins of web pages that may call this server, "https://app.example.com"; empty: CORS is off.',
    )
    loop: Literal["uvloop", "asyncio"] = Field(default="uvloop", description="Event loop: uvloop is the faster one.")
    drain: float = Field(
        default=10.0,
        ge=0,
        description="Seconds that running turns may take to finish after SIGTERM, before they are ended.",
    )
    max_body: int = Field(default=32 * MIB, ge=KIB, description="Largest HTTP request body, in bytes.")
    max_upload: int = Field(
        default=512 * MIB, ge=KIB, description="Largest file that comes with a form, in bytes; it goes to disk."
    )
    max_inflated: int = Field(
        default=8 * MIB,
        ge=KIB,
        description="Largest HTTP request body that came compressed, in bytes once it is inflated; never more than 100 "
        "times what came.",
    )
    head_timeout: float = Field(
        default=10.0, gt=0, description="Seconds that the head of a request, its line and headers, may take to come."
    )
    strangers: int = Field(
        default=1024,
        ge=8,
        description="Connections on which nobody is known, before the head of a request and its key have come; above it the "
        "oldest is closed. Never more than half of the descriptors that the system gives.",
    )
    body_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that a request's body may stop, or come at less than 8 KiB a second.",
    )
    max_frame: int = Field(default=1 * MIB, ge=KIB, description="Largest WebSocket frame from a client, in bytes.")
    mailbox: int = Field(
        default=64,
        ge=1,
        description="Commands that may wait in a session, as long as they have no more bytes than one frame may have; a full "
        "mailbox stops reading from its socket.",
    )
    ping_interval: float = Field(
        default=30.0, gt=0, description="Seconds between WebSocket pings; two without an answer close the socket."
    )
    authenticate_timeout: float = Field(
        default=10.0, gt=0, description="Seconds a new socket has to present its key, in keys mode."
    )


class BusSettings(Settings):
    """Operator's `[bus]` table."""

    stream_bytes: int = Field(
        default=1 * MIB,
        ge=KIB,
        description="Bytes a running stream keeps per lane for readers that are behind or come back.",
    )
    memory: int = Field(
        default=16 * MIB,
        ge=0,
        description="Bytes all ended streams share, so that they can be resumed; oldest out first.",
    )
    keep: float = Field(default=300.0, ge=0, description="Seconds an ended stream can be resumed from memory, at most.")


class AuthSettings(Settings):
    """Operator's `[auth]` table."""

    mode: Literal["local", "keys"] = Field(
        default="local",
        description='"local": loopback only, no credential needed, one user. "keys": every caller presents an API key.',
    )
    secret: SecretStr | None = Field(
        default=None,
        examples=["${env:BETTERAI_AUTH_SECRET}"],
        description="Secret that API keys are hashed with, of at least 16 characters; unset: one is generated and kept in "
        "var/. With another secret all keys issued before are void.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names besides loopback ones that the Host header may carry in local mode."
    )


def _redis_address(address: SecretStr) -> SecretStr:
    if not address.get_secret_value().startswith(("redis://", "rediss://")):
        raise ValueError('must be the address of a Redis, such as "redis://127.0.0.1:6379/0"')
    return address


class LimitsSettings(Settings):
    """Operator's `[limits]` table; a limit without a default is off until it is set."""

    session_streams: int | None = Field(default=None, ge=1, description="Streams that one session may run at a time.")
    principal_streams: int | None = Field(
        default=None, ge=1, description="Streams that one principal may run at a time, over all its sessions."
    )
    principal_sockets: int | None = Field(default=None, ge=1, description="Sockets that one principal may hold open.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Commands and HTTP requests that one principal may start in a minute."
    )
    tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="Tokens, input and output, that the turns of one principal may use in a minute; the next turn "
        "is refused when none is left.",
    )
    answer_characters: int = Field(
        default=2_000_000,
        ge=1_000,
        description="Characters that one turn may answer: text, reasoning, tool calls and transcripts together. A turn that "
        "passes it ends with `answer_too_long`, and keeps what came before.",
    )
    waiting_turns: int = Field(
        default=10_000,
        ge=1,
        description="Turns that may wait for their start at a time, of which a few begin in each moment; more is refused "
        "(overloaded), to be sent again.",
    )
    uploads: int = Field(default=64, ge=1, description="Forms with a file that the server receives at a time.")
    principal_uploads: int = Field(
        default=8, ge=1, description="Forms with a file that one principal may send at a time."
    )
    redis: Annotated[SecretStr, AfterValidator(_redis_address)] | None = Field(
        default=None,
        examples=["redis://127.0.0.1:6379/0"],
        description="Redis in which several servers count requests and tokens together; unset: each counts in memory. "
        "While it is away, each counts for itself.",
    )


def _database_url(url: str) -> str:
    driver, separator, _ = url.partition("://")
    if driver.partition("+")[0] in ("postgres", "postgresql"):
        raise ValueError("must be an address of SQLite or MariaDB (MySQL): PostgreSQL is not supported")
    if not separator or "+" not in driver:
        raise ValueError(
            'must be an address with an asynchronous driver, such as "sqlite+aiosqlite:///var/betterai.db" or '
            '"mysql+asyncmy://127.0.0.1/betterai"'
        )
    return url


def _database_name(name: str) -> str:
    # "health" is like "default" enough for a hint; a slip is more alike than that.
    if nearest(name, ("default", "auto_upgrade"), likeness=0.8):
        raise PydanticKnownError("extra_forbidden")
    return name


DatabaseUrl = Annotated[str, AfterValidator(_database_url)]


class DatabasesSettings(Settings):
    """Operator's `[databases]` table: every further key gives a database that plugins ask for an address of its own."""

    model_config = ConfigDict(extra="allow")

    # A name that is close to a key of this table is taken for a slip and refused.
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_database_name)], DatabaseUrl]

    default: DatabaseUrl = Field(
        default="sqlite+aiosqlite:///var/betterai.db",
        description="Database of the engine and of every plugin that has none of its own. "
        'Others are added under their names, for example health = "sqlite+aiosqlite:///var/health.db".',
    )
    auto_upgrade: bool | None = Field(
        default=None,
        description="Upgrade the tables at the start; unset: with SQLite yes, else by `betterai db upgrade`.",
    )

    @property
    def named(self) -> Mapping[str, str]:
        """The databases besides the default one, by name."""
        return dict(self.__pydantic_extra__ or {})

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Addresses hold passwords.
        for name, value in super().__repr_args__():
            yield name, mask_text(value) if isinstance(value, str) else value


class PluginsSettings(Settings):
    """Operator's `[plugins]` table; each plugin's own settings are in `[plugins.<name>]`."""

    holds_tables: ClassVar[bool] = True

    enabled: tuple[str, ...] = Field(
        default=("local", "chat", "openai_api", "audio", "tts", "realtime", "storage"),
        description="Plugins that are on; `betterai plugins` lists what is installed.",
    )
    required: tuple[str, ...] = Field(
        default=(),
        description="Plugins without which the server does not start; any other that fails is off, and says why.",
    )
    strikes: int = Field(
        default=3,
        ge=0,
        description="Times in ten minutes that a plugin which is not shipped with the engine may block the event loop "
        "for half a second before it is switched off; 0: it is named in the log only.",
    )
    start_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds that a plugin has to open what it keeps open; one that is not open by then is off.",
    )
    switches: Path = Field(
        default=Path("var/plugins.toml"),
        description="File that keeps what `betterai plugins enable|disable --persist` switched; it is laid over "
        "`enabled`.",
    )


class TracingSettings(Settings):
    """Operator's `[tracing]` table; needs the extra `otel`."""

    endpoint: WebAddress | None = Field(
        default=None,
        examples=["http://127.0.0.1:4318"],
        description="Address of a receiver of OpenTelemetry traces (OTLP over HTTP); unset: nothing is traced.",
        json_schema_extra={"env": ["OTEL_EXPORTER_OTLP_ENDPOINT"]},
    )
    service: str = Field(default="betterai", min_length=1, description="Name of this server in the traces.")
    sample: float = Field(
        default=1.0, ge=0, le=1, description="Share of the traces that are kept, where a caller has not decided."
    )


class LogSettings(Settings):
    """Operator's `[log]` table."""

    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="Least severity that is logged: debug, info, warning, error or critical."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description='"json": one object per line. "console": for people. "auto": console on a terminal.'
    )
    access: bool = Field(
        default=False,
        description="Log one line for each request and each WebSocket: id, principal, route, status, milliseconds, bytes.",
    )
    user_content: bool = Field(
        default=False,
        description="Log what users say (fields named pii_*), and libraries below warning level, "
        "which may log the bodies they send.",
    )


class ModelsSettings(Settings):
    """Operator's `[models]` table."""

    default: str = Field(default="local", min_length=1, description="Model that answers when a client names none.")
    embedding: str | None = Field(
        default=None,
        min_length=1,
        examples=["text-embedding-3-small"],
        description="Embedding model that answers when a client names none.",
    )
    speech: str = Field(default="local", min_length=1, description="Voice model that speaks when a client names none.")
    transcription: str = Field(
        default="local", min_length=1, description="Transcription model that listens when a client names none."
    )
    realtime: str = Field(
        default="local", min_length=1, description="Realtime model that converses when a client names none."
    )
    aliases: Mapping[str, str] = Field(
        default_factory=dict, description='Further names of models, for example { fast = "local" }.'
    )
    fallbacks: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Models to try in order when one fails before its first event, by the model's name.",
    )
    retired: Literal["error", "successor"] = Field(
        default="error", description='What a retired model answers: an error, or its successor\'s answer ("successor").'
    )
    catalogue: Path | None = Field(
        default=None,
        examples=["config/more-models.toml"],
        description="File with further models, in the format of config/models.toml.",
    )
    connect_timeout: float = Field(default=10.0, gt=0, description="Seconds to reach a provider.")
    first_event_timeout: float = Field(
        default=60.0,
        gt=0,
        description="Seconds until a provider begins to answer; a model that is still loading does not count.",
    )
    idle_timeout: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that a provider may be silent once it has begun to answer; every byte that comes ends a silence.",
    )
    total_timeout: float = Field(default=600.0, gt=0, description="Seconds that one call to a provider may take.")
    retries: int = Field(
        default=2, ge=0, le=10, description="Further attempts at a failed call, only before its first event; 0: none."
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="Failures in a row after which a provider is left alone for a while."
    )
    breaker_reset: float = Field(
        default=30.0, gt=0, description="Seconds until a provider that was left alone is tried again."
    )
