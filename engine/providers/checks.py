"""Whether a model can do what a request demands, as far as the catalogue knows."""

from collections.abc import Iterator

from engine.api.chat import AudioPart, ChatRequest, FilePart, FunctionTool, ImagePart
from engine.api.errors import UnsupportedParameter
from engine.api.providers import Target

_PARTS = {ImagePart: ("images", "images"), AudioPart: ("audio", "audio"), FilePart: ("files", "files")}


def unsupported(target: Target, request: ChatRequest) -> UnsupportedParameter | None:
    """The first demand that the model is known not to meet; None where all are met or nothing is known."""
    if not target.checked or target.info is None:
        return None
    for capability, field, demand in _demands(request):
        if not target.can(capability):
            return UnsupportedParameter(f"{target.name} does not take {demand}; choose another model", field=field)
    return None


def _demands(request: ChatRequest) -> Iterator[tuple[str, str, str]]:
    """Capability, the field that asks for it, and the demand in words."""
    for kind in dict.fromkeys(type(part) for message in request.messages for part in message.parts):
        if kind in _PARTS:
            capability, demand = _PARTS[kind]
            yield capability, "input", demand
    for tool in request.tools:
        if isinstance(tool, FunctionTool):
            yield "tools", "tools", "tools"
        else:
            yield "web_search", "tools", "web search"
    if request.response_format is not None and request.response_format.kind == "json_schema":
        yield "json_schema", "response_format", "a JSON Schema for its answer"
    reasoning = request.reasoning
    if reasoning is not None and (reasoning.budget or reasoning.effort not in (None, "none")):
        yield "reasoning", "reasoning", "a reasoning effort"
    if request.logprobs is not None:
        yield "logprobs", "logprobs", "a demand for log probabilities"
