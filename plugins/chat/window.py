"""What fits into a model's context window: old turns go first, and whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.api.chat import ChatRequest, FunctionTool, Message, TextPart
from engine.api.errors import ContextTooLong
from engine.api.providers import Target

CHARACTERS_PER_TOKEN = 4
"""A rough figure for text in vendors' tokenizers; only used to guess what fits before the vendor counts."""

PART_TOKENS = 800
"""A guess for an image, a recording or a file."""

ANSWER_TOKENS = 512
"""Room kept for the answer where the request names no bound."""


def estimated_tokens(message: Message) -> int:
    """About how many tokens a message takes."""
    tokens = 8 + sum(len(call.arguments) + len(call.name) for call in message.tool_calls) // CHARACTERS_PER_TOKEN
    for part in message.parts:
        tokens += len(part.text) // CHARACTERS_PER_TOKEN if isinstance(part, TextPart) else PART_TOKENS
    return tokens


def room(request: ChatRequest, target: Target) -> int | None:
    """Tokens left for messages, or None where the catalogue does not know the model's window."""
    if not target.checked or target.info is None or target.info.context is None:
        return None
    window = target.info.context
    tools = sum(len(str(tool.parameters)) for tool in request.tools if isinstance(tool, FunctionTool))
    fixed = (len(request.instructions or "") + tools) // CHARACTERS_PER_TOKEN
    return window - fixed - min(request.max_output_tokens or ANSWER_TOKENS, window // 2)


def fit(messages: Sequence[Message], tokens: int, turn: int) -> tuple[Message, ...]:
    """The newest messages that fit into `tokens`; system messages stay.

    The last `turn` messages are what is asked now: they are never left out. An assistant's tool calls and their results stay
    together. Raises `ContextTooLong` when what is asked now does not fit alone.
    """
    sizes = list(map(estimated_tokens, messages))
    end = len(messages) - turn
    asked = sum(sizes[end:])
    if asked > tokens:
        raise ContextTooLong(
            f"the input takes about {asked} tokens and the model has room for {max(tokens, 0)}; send less, or ask a model with "
            "a larger context",
            field="input",
        )
    total = sum(sizes)
    left_out: set[int] = set()
    for old in _turns(messages[:end]):
        if total <= tokens:
            break
        total -= sum(sizes[i] for i in old)
        left_out.update(old)
    return tuple(message for i, message in enumerate(messages) if i not in left_out)


def _turns(messages: Sequence[Message]) -> Iterator[list[int]]:
    """Indices of each user's message and all that answers it, oldest first; system messages are in none."""
    current: list[int] = []
    for i, message in enumerate(messages):
        if message.role in ("system", "developer"):
            continue
        if message.role == "user" and current:
            yield current
            current = []
        current.append(i)
    if current:
        yield current
