"""What a provider is, what the catalogue knows of a model, and how a feature asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from engine.api.chat import ChatDeltas, ChatRequest
from engine.api.embedding import Embedded, EmbeddingRequest
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.api.object_store import Link, ObjectPage, StoredObject
from engine.api.realtime import RealtimeInput, RealtimeRequest, RealtimeStage
from engine.api.speech import Quota, Sound, SpeechRequest, Voice
from engine.api.streams import Writer
from engine.api.transcription import Segment, TranscriptionRequest

ProviderRole: TypeAlias = Literal[
    "chat",
    "realtime",
    "transcription",
    "speech",
    "image",
    "video",
    "embedding",
    "rerank",
    "web_search",
    "object_store",
    "vector_store",
]


class Provider(Protocol):
    """Root of every role: a name, and the reason why it cannot serve, if there is one."""

    role: ClassVar[ProviderRole]

    @property
    def name(self) -> str:
        """Vendor prefix in `vendor/model`, unique within the role."""
        ...

    @property
    def unavailable(self) -> str | None:
        """A sentence for the operator that says what is missing (a key, an extra), or None when it can serve."""
        ...


class ChatProvider(Provider, Protocol):
    """Turns a request into a stream of deltas."""

    role: ClassVar[ProviderRole] = "chat"

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas] | PushedAnswer:
        """Ask the model and give its answer: one delta at a time, or lists of what one read brought.

        Text is given as it comes. Each choice ends with a `Finish`; `Usage` comes once, at the end. Failure is an
        `EngineError` of the provider family. Cancelling the task or closing the iterator closes the connection to the vendor.
        Status deltas of stage `loading` hold the first-event deadline.
        """
        ...


class PushedAnswer(Protocol):
    """An answer that hands itself out instead of being iterated.

    A provider that decodes its bytes where they arrive, in a callback of the loop, saves for each piece the wake-up of
    every coroutine between the socket and the client. Most providers are well served by an asynchronous generator.
    """

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        """Ask the model and call `take` with each delta, or with all that one read brought, until the answer is over.

        What `take` raises ends the answer and is raised here, as a failure is. Cancelling closes the connection to the
        vendor.
        """
        ...


class ContinuedAnswer(PushedAnswer, Protocol):
    """An answer for which the vendor is asked more than once, as by Anthropic's `pause_turn`: each time is paid for."""

    again: Callable[[], Awaitable[None]] | None
    """Set by the engine: to be awaited before each request after the first, once the usage so far was given out. Raises
    `BudgetExceeded` where nothing pays for another."""


class EmbeddingProvider(Provider, Protocol):
    """Turns texts into vectors. Retries, deadline and cost are the engine's matter."""

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input; raises an `EngineError` of the provider family for the vendor's failures."""
        ...


class SpeechProvider(Provider, Protocol):
    """Turns text into sound. Retries, deadlines and cost are the engine's matter."""

    role: ClassVar[ProviderRole] = "speech"

    def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text; the pieces come as they are made. Failure is an `EngineError` of the provider family.

        Closing the iterator closes the connection to the vendor.
        """
        ...

    async def voices(self) -> Sequence[Voice]:
        """The voices that can be asked for."""
        ...


@runtime_checkable
class StreamingSpeechProvider(Protocol):
    """A speech provider that takes text while it speaks, and so sounds better across sentences."""

    def speak_stream(self, request: SpeechRequest, texts: AsyncIterator[str]) -> AsyncIterator[Sound]:
        """Speak what comes, in order, beginning before all has come."""
        ...


@runtime_checkable
class QuotaTeller(Protocol):
    """A speech provider whose vendor tells how much of the account's quota is used."""

    async def quota(self) -> Quota:
        """The quota as it stands now; raises an `EngineError` of the provider family for the vendor's failures."""
        ...


class TranscriptionProvider(Provider, Protocol):
    """Turns sound into text. Deadlines and cost are the engine's matter."""

    role: ClassVar[ProviderRole] = "transcription"

    def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken; the end of `audio` is the end of the speech.

        Every stretch ends with a final segment. Failure is an `EngineError` of the provider family. Closing the iterator
        closes the connection to the vendor.
        """
        ...

    def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording, as fast as it can be read; only final segments."""
        ...


class RealtimeProvider(Provider, Protocol):
    """Holds conversations by voice. Deadlines, retries of a start, and cost are the engine's matter.

    One with a class attribute `answers_by_itself = False` neither answers nor stops unasked: the call tells it
    `RealtimeAnswer` when what was said is to be answered, and `RealtimeInterrupt` when the answer is to stop, so that an
    answer which was held for a cough goes on. A class attribute `rate` says how many samples a second it hears, where those
    are not `REALTIME_RATE`: audio that comes so is passed on as it is, and each change of rate would cost it 25 ms.
    A method `interruptible(request)` may say that speech stops no answer of a model, whatever its turn detection asks for.
    A class attribute `forgets = True` says that it takes `RealtimeForget` in a call that nothing is kept of, and
    `bounds_answers = True` that it heeds `max_output_tokens`, which is refused elsewhere.
    """

    role: ClassVar[ProviderRole] = "realtime"

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """Hold one conversation until `intake` ends, and tell on `stage` what happens.

        A vendor's session that is lost or over is made anew with the conversation so far, and no speech is lost. Failure is
        an `EngineError` of the provider family that tells the vendor's code and reason. Cancelling closes the connection.
        """
        ...


class ObjectStore(Provider, Protocol):
    """Keeps files for principals. Nobody sees, or can tell from, what is another's; what has expired is not there.

    A file is whole or not there at all. Failures are `ObjectNotFound`, `FrameTooLarge`, `QuotaExceeded` and
    `StorageUnavailable`.
    """

    role: ClassVar[ProviderRole] = "object_store"

    async def put(
        self,
        principal: Principal,
        pieces: AsyncIterator[bytes],
        *,
        name: str,
        content_type: str,
        origin: str | None = None,
        most: int | None = None,
    ) -> StoredObject:
        """Keep the bytes that come, at most `most` and the operator's bound of them. The iterator is closed.

        What it raises is raised here, and nothing is kept then; the same holds for a cancel before the end of the bytes.
        """
        ...

    async def find(self, principal: Principal, id: str) -> StoredObject:
        """The principal's object of this id."""
        ...

    async def page(
        self, principal: Principal, *, origin: str | None = None, before: str | None = None, limit: int = 50
    ) -> ObjectPage:
        """The principal's objects, newest first: those made in the stream `origin`, and behind the mark `before`."""
        ...

    def read(self, stored: StoredObject, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, which is not among them; closing the iterator lets go of the file."""
        ...

    async def link(self, stored: StoredObject, seconds: float | None = None) -> Link:
        """An address for the object that needs no credential; it lasts as the operator says, or for so many `seconds`."""
        ...

    async def delete(self, principal: Principal, id: str) -> None:
        """Forget an object: its links answer nothing any more."""
        ...


class EmbeddingModel(Protocol):
    """One embedding model, with the engine's resilience around each call."""

    @property
    def target(self) -> Target:
        """The provider, and its name of the model."""
        ...

    async def embed(self, request: EmbeddingRequest, principal: Principal) -> Embedded:
        """A vector for each input, with usage and cost, which `principal` pays; `request.model` is replaced by the target's."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A chat provider that counts the tokens of a request in the dialect that it speaks."""

    async def count_tokens(self, model: str, native: Mapping[str, Any]) -> int:
        """Tokens of the input; `native` is the request as its caller worded it."""
        ...


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens. Missing figures: cached input costs as input, reasoning as output.

    `characters` is the price of a million of them, spoken; `minute` that of a minute of audio, heard. `audio_input`,
    `audio_cached_input` and `audio_output` are prices of tokens of sound; missing ones cost as words do. `cache_write` and
    `cache_write_hour` are those of input that is written into a prompt cache, for minutes and for an hour; missing ones are a
    quarter more than input, and twice as much. `search` is the price of one search of the web that the vendor runs.
    """

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached_input: Decimal | None = None
    reasoning: Decimal | None = None
    characters: Decimal | None = None
    minute: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    audio_cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_hour: Decimal | None = None
    search: Decimal | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the catalogue. `context` and `max_output` are in tokens.

    `model` is the vendor's name where it differs from `id`. `capabilities` are words: images, audio, files, tools,
    reasoning, json_schema, web_search, logprobs.
    """

    id: str
    provider: str
    role: ProviderRole = "chat"
    model: str | None = None
    aliases: tuple[str, ...] = ()
    context: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] = frozenset()
    price: Price | None = None
    retires_on: date | None = None
    successor: str | None = None
    description: str = ""

    @property
    def vendor_model(self) -> str:
        """The name that goes to the vendor."""
        return self.model or self.id


@dataclass(frozen=True, slots=True)
class Target:
    """One link of a chain: a provider, the vendor's model name, and what the catalogue knows of it.

    `checked` is false behind an address that is not the vendor's own: there the catalogue's capabilities, context and
    retirement say nothing about the model that answers.
    """

    provider: Provider
    model: str
    info: ModelInfo | None = None
    checked: bool = True

    @property
    def name(self) -> str:
        """`provider/model`, as clients are told which model answered."""
        return self.model if self.provider.name == self.model else f"{self.provider.name}/{self.model}"

    def speaks(self, dialect: str) -> bool:
        """Whether the provider sends `ChatRequest.native` of this dialect as it is."""
        return getattr(self.provider, "dialect", None) == dialect

    def can(self, capability: str) -> bool:
        """False only where the provider or the catalogue knows that the model lacks the capability."""
        if self.lacks(capability):
            return False
        return not self.checked or self.info is None or capability in self.info.capabilities

    def lacks(self, feature: str) -> bool:
        """Whether the provider lists a feature in its attribute `lacks`, as its vendor's API has no field for it.

        That is a capability, `reasoning_effort`, `top_k`, or `chat_completions` for the fields of that dialect.
        """
        return feature in getattr(self.provider, "lacks", ())

    def takes(self, feature: str) -> bool:
        """Whether the provider lists a feature in its attribute `takes`: `cache_control`, marks for the prompt cache."""
        return feature in getattr(self.provider, "takes", ())


class ChatChain(Protocol):
    """An ordered choice of targets for one model name, with the engine's resilience around each call."""

    @property
    def targets(self) -> Sequence[Target]:
        """The links of the chain, in the order in which they are tried."""
        ...

    def check(self, request: ChatRequest) -> None:
        """Raise `UnsupportedParameter` when the catalogue knows that the first target cannot do what is asked."""
        ...

    async def ask(self, request: ChatRequest, stream: Writer, take: Callable[[ChatDeltas], object]) -> None:
        """Call the first target that serves and hand its answer to `take`: one delta, or all that one read brought.

        `request.model` is replaced by the target's. Retries and falls back only before the first delta; each such step
        is a `status` event on `stream`. Usage and the answering model are metered on `stream`. `take` must not wait; what it
        raises ends the call. Cancelling closes the vendor's connection.
        """
        ...


class SpeechModel(Protocol):
    """One voice model, with the engine's resilience around it. It takes a stream of text, whoever speaks."""

    @property
    def target(self) -> Target:
        """The provider, and its name of the model."""
        ...

    def check(self, request: SpeechRequest) -> None:
        """Raise `InvalidRequest` for what the provider knows that it cannot do, as a voice that is not there."""
        ...

    def speak(
        self, request: SpeechRequest, texts: AsyncIterator[str], stream: Writer, *, answers: bool = True
    ) -> AsyncIterator[Sound]:
        """Speak a text that comes piece by piece. Usage is metered on `stream`, and the model if the voice is what `answers`.

        `request.model` is replaced by the target's. Closing the iterator stops the vendor.
        """
        ...

    async def voices(self) -> Sequence[Voice]:
        """The voices of its provider."""
        ...

    async def quota(self) -> Quota:
        """What the account at its provider has used; raises `UnsupportedParameter` where the provider tells none."""
        ...


class TranscriptionModel(Protocol):
    """One transcription model, with the engine's resilience around it."""

    @property
    def target(self) -> Target:
        """The provider, and its name of the model."""
        ...

    def check(self, request: TranscriptionRequest) -> None:
        """Raise what the provider has against a request, as a language that it has not learnt."""
        ...

    def live(
        self, request: TranscriptionRequest, audio: AsyncIterator[bytes], stream: Writer
    ) -> AsyncIterator[Segment]:
        """As of the provider; usage and the model are metered on `stream`. `request.model` is replaced by the target's."""
        ...

    def file(
        self, request: TranscriptionRequest, audio: AsyncIterator[bytes], stream: Writer
    ) -> AsyncIterator[Segment]:
        """As of the provider, metered likewise."""
        ...


class RealtimeModel(Protocol):
    """One realtime model, with the engine's resilience around it."""

    @property
    def target(self) -> Target:
        """The provider, and its name of the model."""
        ...

    def check(self, request: RealtimeRequest) -> None:
        """Raise what the provider has against a request, as a voice that is not there."""
        ...

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """As of the provider; `request.model` is replaced by the target's. Usage is what `spend` is told."""
        ...

    def spend(self, usage: Usage, stream: Writer) -> Cost | None:
        """Count what an answer used; gives its cost where the catalogue knows prices."""
        ...


class Providers(Protocol):
    """The registry, as a feature sees it."""

    def chat(self, model: str | None) -> ChatChain:
        """The chain for a model name; None is the configured default.

        Raises `ModelNotFound`, `ModelRetired` or `ModelUnavailable`, each naming what would be right.
        """
        ...

    def embedding(self, model: str | None) -> EmbeddingModel:
        """The embedding model of a name; None is the configured default. Raises as `chat` does."""
        ...

    def speech(self, model: str | None) -> SpeechModel:
        """The voice model of a name; None is the configured default. Raises as `chat` does."""
        ...

    def transcription(self, model: str | None) -> TranscriptionModel:
        """The transcription model of a name; None is the configured default. Raises as `chat` does."""
        ...

    def realtime(self, model: str | None) -> RealtimeModel:
        """The realtime model of a name; None is the configured default. Raises as `chat` does."""
        ...

    def objects(self) -> ObjectStore:
        """Where files are kept: the first store that can serve, in the order of `[plugins] enabled`.

        Raises `FeatureDisabled` where there is none, `StorageUnavailable` where none can serve.
        """
        ...

    def get(self, role: ProviderRole, name: str) -> Provider:
        """The provider of this role and name, or `ModelUnavailable`."""
        ...

    def models(self, role: ProviderRole | None = None) -> Sequence[ModelInfo]:
        """Catalogue entries whose provider is on and can serve."""
        ...

    def known(self) -> Mapping[str, ModelInfo]:
        """Every entry of the catalogue by id."""
        ...

    def providers(self) -> Mapping[tuple[ProviderRole, str], Provider]:
        """Every provider that is on, by role and name, whether or not it can serve."""
        ...
