"""What a request may say in a vendor's own words: nothing that is not judged before the call is made.

`provider_options` and `native` go to the vendor as they are. What names another model or other words than the request's, or
changes the price, is refused by name; what bounds the answer there counts as the request's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from engine.api.chat import ChatRequest
from engine.api.errors import InvalidRequest
from engine.api.providers import ProviderRole, Target

OPTIONS = "provider_options"

BOUNDS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "maxTokens",
        "max_new_tokens",
        "max_tokens_to_sample",
        "num_predict",
        "n_predict",
    }
)
"""What vendors call the most tokens of an answer."""

THINKING = frozenset({"budget_tokens", "thinkingBudget", "thinking_budget", "max_tokens", "max_thinking_tokens"})
"""What vendors call the most tokens of thinking, in objects that are about that; it may come on top of the answer's."""

_UNTOLD = frozenset({"thinkingBudget", "thinking_budget"})
"""Those of which -1 leaves to the model how much it thinks."""

_NESTS = ("generationConfig", "generation_config", "options", "parameters", "inferenceConfig")
"""Objects in which vendors take the bound of an answer."""

_COMMON = frozenset(
    {"model", "models", "model_id", "modelId", "n", "stream", "fallbacks", "route", "api_base", "base_url"}
)

_REFUSED: Mapping[ProviderRole, frozenset[str]] = {
    "chat": _COMMON
    | {
        "messages",
        "input",
        "contents",
        "prompt",
        "best_of",
        "candidateCount",
        "candidate_count",
        "num_return_sequences",
    }
    | {"previous_response_id", "conversation", "cachedContent", "cached_content", "background", "stream_options"},
    "embedding": _COMMON | {"input", "inputs", "text", "texts", "contents", "content", "requests"},
    "speech": _COMMON | {"input", "inputs", "text", "texts", "contents", "ssml"},
    "transcription": _COMMON | {"file", "url", "uri", "contents"},
    "realtime": _COMMON,
}

_TIERS: Mapping[str, frozenset[Any]] = {
    "service_tier": frozenset({"auto", "default", "standard", "standard_only", "flex", "on_demand"}),
    "serviceTier": frozenset({"auto", "default", "standard", "flex"}),
    "speed": frozenset({"standard"}),
    "inference_geo": frozenset({"global"}),
}
"""Fields that change the price of a chat, and what costs no more than the catalogue says."""

_DEPTH = 8

MOST_OPTIONS = 20_000
"""Values of `provider_options`, and of a native body beside its words and tools: members and items, at all levels."""

_WORDS = frozenset({"messages", "system", "tools"})
"""Members of a native body that have as many values as a whole request."""

_MODELS = frozenset({"model", "model_id", "modelId"})


def refuse_unjudged(role: ProviderRole, options: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for an option that would replace what was judged; the error names the field."""
    refused = _REFUSED.get(role, _COMMON)
    for name in options:
        if name in refused:
            raise _refusal(f"{OPTIONS}.{name}")
    if _name_a_model(options, OPTIONS) and (path := next(_models(options, OPTIONS, _DEPTH), None)) is not None:
        raise _refusal(path)
    if role == "chat":
        for nest in _NESTS:
            for name in _object(options.get(nest)):
                if name in ("candidateCount", "candidate_count", "n"):
                    raise _refusal(f"{OPTIONS}.{nest}.{name}")


def judged(request: ChatRequest, targets: Sequence[Target], asked: str | None = None) -> ChatRequest:
    """The request with every bound on its answer in its own field; raises `InvalidRequest` for what cannot be judged.

    `asked` is the name under which the first target was found.
    """
    if not request.provider_options and not request.native:
        return request
    refuse_unjudged("chat", request.provider_options)
    _check_thinking(request.provider_options, OPTIONS)
    options, bounds = _without_bounds(request.provider_options)
    native = request.native
    if native:
        settings = {name: _settings(body) for name, body in native.items()}
        for name, body in settings.items():
            _name_a_model(body, f"native.{name}")
        _check_thinking(settings, "native")
        bounds += _native_bounds(native, targets, asked)
    bound = max(bounds) if bounds else request.max_output_tokens
    return structs.replace(
        request, provider_options=options, max_output_tokens=bound, native=_with_bound(native, bound)
    )


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """A native body without its words and its tools, in which nothing bounds or bills the answer."""
    return {name: value for name, value in body.items() if name not in _WORDS}


def bounded(request: ChatRequest, tokens: int) -> ChatRequest:
    """The request with a bound on its answer, in whatever words it goes out."""
    return structs.replace(request, max_output_tokens=tokens, native=_with_bound(request.native, tokens))


def _with_bound(native: Mapping[str, Mapping[str, Any]], tokens: int | None) -> Mapping[str, Mapping[str, Any]]:
    """The bodies, with a bound where they have none."""
    if tokens is None:
        return native
    return {
        dialect: body if BOUNDS & body.keys() else {**body, "max_tokens": tokens} for dialect, body in native.items()
    }


def thinking_of(options: Any, depth: int = _DEPTH) -> int | None:
    """Tokens of thinking that options ask for, never below 0; None where they leave it to the model."""
    asked = list(_thinking(options, "", depth))
    if any(_is_untold(path, value) for path, value in asked):
        return None
    return sum(max(0, int(value)) for _, value in asked if _is_count(value))


def _check_thinking(options: Any, where: str) -> None:
    """Raise for a figure of thinking that is not a count: a budget would not know what it bounds."""
    for path, value in _thinking(options, where):
        if value is not None and not (_is_count(value) and value >= 0) and not _is_untold(path, value):
            *nests, name = path.split(".")[1 if where == OPTIONS else 2 :]
            bounds_answer = name in BOUNDS and (not nests or (len(nests) == 1 and nests[0] in _NESTS))
            of, least = ("an answer", 1) if bounds_answer else ("thinking", 0)
            raise InvalidRequest(f"the most tokens of {of} are a whole number from {least} on", field=path)


def _is_untold(path: str, value: Any) -> bool:
    return _is_count(value) and value == -1 and path.rpartition(".")[2] in _UNTOLD


def _thinking(options: Any, path: str, depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """Where options bound the thinking, and by what; a schema's property of that name is an object and bounds none."""
    if depth and isinstance(options, Mapping):
        for name, value in options.items():
            if isinstance(value, Mapping | list):
                yield from _thinking(value, f"{path}.{name}", depth - 1)
            elif name in THINKING:
                yield f"{path}.{name}", value
    elif depth and isinstance(options, list):
        for at, each in enumerate(options):
            yield from _thinking(each, f"{path}.{at}", depth - 1)


def _without_bounds(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """The options without the bounds of the answer, and these."""
    bounds = [_count(value, f"{OPTIONS}.{name}") for name, value in options.items() if name in BOUNDS]
    kept = {name: value for name, value in options.items() if name not in BOUNDS}
    for nest in _NESTS:
        inner = _object(kept.get(nest))
        found = [_count(value, f"{OPTIONS}.{nest}.{name}") for name, value in inner.items() if name in BOUNDS]
        if found:
            bounds += found
            kept[nest] = {name: value for name, value in inner.items() if name not in BOUNDS}
    return kept, bounds


def _native_bounds(native: Mapping[str, Mapping[str, Any]], targets: Sequence[Target], asked: str | None) -> list[int]:
    """The bounds of the bodies that a target sends as they are."""
    known = set(_names(targets)) | ({asked} if asked else set())
    bounds: list[int] = []
    for dialect, body in native.items():
        where = f"native.{dialect}"
        if (model := body.get("model")) is not None and not (isinstance(model, str) and model in known):
            raise InvalidRequest(
                f"{where} names another model than the request; leave it out, or name it in model",
                field=f"{where}.model",
            )
        if any(target.speaks(dialect) for target in targets):
            bounds += [_count(value, f"{where}.{name}") for name, value in body.items() if name in BOUNDS]
    return bounds


def _names(targets: Sequence[Target]) -> Iterator[str]:
    for target in targets:
        yield target.name
        yield target.model
        if target.info is not None:
            yield target.info.id
            yield from target.info.aliases


def priced_otherwise(request: ChatRequest) -> InvalidRequest | None:
    """The refusal of a field that makes a call cost something else than the catalogue says; None where there is none.

    It is for calls that a budget bounds. Other calls are made, and state no cost.
    """
    bodies = {OPTIONS: request.provider_options, **{f"native.{name}": body for name, body in request.native.items()}}
    for where, body in bodies.items():
        for name, taken in _TIERS.items():
            value = body.get(name)
            if value is not None and not (isinstance(value, str) and value in taken):
                return InvalidRequest(
                    f"this {name} changes the price, so that a budget cannot judge it; leave it out, or send one of: "
                    f"{', '.join(sorted(taken))}",
                    field=f"{where}.{name}",
                )
    return None


def _name_a_model(options: Mapping[str, Any], where: str) -> bool:
    """Whether a member at any level has the name and the form of a model; raises `InvalidRequest` for too many values.

    It counts before it looks at what it counted, so that the cost is bounded whatever was sent.
    """
    left = MOST_OPTIONS - len(options)
    found = not _MODELS.isdisjoint(options)
    for name, option in options.items():
        waiting = [option]
        while waiting and left >= 0:
            value = waiting.pop()
            if not isinstance(value, Mapping | list):
                continue
            left -= len(value)
            if left >= 0 and isinstance(value, Mapping):
                found = found or not _MODELS.isdisjoint(value)
                waiting += value.values()
            elif left >= 0:
                waiting += value
        if left < 0:
            raise InvalidRequest(
                f"{where} has more than {MOST_OPTIONS} values", field=f"{where}.{name[:80]}", limit=MOST_OPTIONS
            )
    return found


def _models(value: Any, path: str, depth: int) -> Iterator[str]:
    """Where an option names a model, however deep; a schema's property of that name is an object and names none."""
    if depth and isinstance(value, Mapping):
        for name, each in value.items():
            if name in _MODELS and isinstance(each, str):
                yield f"{path}.{name}"
            else:
                yield from _models(each, f"{path}.{name}", depth - 1)
    elif depth and isinstance(value, list):
        for at, each in enumerate(value):
            yield from _models(each, f"{path}.{at}", depth - 1)


def _refusal(field: str) -> InvalidRequest:
    name = field.rpartition(".")[2]
    return InvalidRequest(
        f"{name} is not taken among the vendor's own options, since it would replace what was checked; "
        "say it in the request's own fields",
        field=field,
    )


def _count(value: Any, field: str) -> int:
    if not _is_count(value) or value < 1:
        raise InvalidRequest("the most tokens of an answer are a whole number from 1 on", field=field)
    return int(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
