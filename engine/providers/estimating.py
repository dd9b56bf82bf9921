"""How many tokens a request has, before a vendor counts them: about, where a vendor never does, and at most, for budgets.

At most: a vocabulary of bytes has no token shorter than one of them. Vocabularies join the pairs of letters of which words are
made, so that of two tokens that meet at such a pair one has two letters or more: three letters make two tokens at most. Each
beginning of a word and each pair that a vocabulary may not join makes a third of one more. A kana is two, any other byte one.
Pictures, sound and files have flat figures above what vendors publish: 258 to 1,600 tokens a picture with most, 4,800 with the
dearest; 10 to 32 tokens a second of sound; a page of a document as many as a picture and its words.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from engine.api.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    WebSearch,
)
from engine.api.providers import Target

CHARACTERS_A_TOKEN = 4
"""English prose has about four characters a token in the vendors' vocabularies."""

MESSAGE_OVERHEAD = 8
"""Tokens around the words of a message, in the vendors' templates."""

PICTURE = 5000
DEAR_PICTURE = 50_000
_DEAR = ("gpt-4o-mini",)
"""Models that count a picture by far more than others: 2,833 tokens, and 5,667 for each of up to 8 tiles."""

SOUND_A_SECOND = 32
_RAW_RATE, _PACKED_RATE = 8000, 2000
"""Bytes of a second of sound at least: telephone's, and 16 kbit/s where it is packed."""

_RAW = ("wav", "pcm", "pcm16", "l16", "g711_ulaw", "g711_alaw")

FAR_FILE = 100_000
"""Tokens of a file that only its address is known of."""

SEARCHES, MOST_SEARCHES = 10, 1000
"""Searches of the web that a vendor is taken to run for a call whose request bounds them by no `max_uses`."""

FOUND = 10_000
"""Tokens that a search brings into the input."""

_RUN_BY_VENDORS = (
    "web_search",
    "web_fetch",
    "code_execution",
    "code_interpreter",
    "file_search",
    "image_generation",
    "mcp",
)
_RUN_BY_GOOGLE = frozenset(
    {
        *(
            "google_search",
            "googleSearch",
            "google_search_retrieval",
            "googleSearchRetrieval",
            "google_maps",
            "googleMaps",
        ),
        *("url_context", "urlContext", "code_execution", "codeExecution", "file_search", "fileSearch"),
    }
)
"""Tools that vendors run themselves: what they bring is input that comes after the request."""

_PICTURES = ("image", "image_url", "input_image")
_DOCUMENTS = ("document", "file", "input_file")
_PACKED = "application/pdf"
_PLACES = ("source", "file", "image_url", "file_data", "file_id", "file_url")
"""Members of a block that have or name its content."""

_CONTENT = frozenset({"messages", "content", "source"})
"""Members of a body in which vendors take pictures and files; what stands in any other one is text to a model."""

REQUEST_OVERHEAD = 32
"""Tokens around the messages of a request."""

TOOLS_OVERHEAD = 600
"""Tokens with which a vendor tells a model that it has tools: Anthropic says up to 530."""

_CONSONANT, _VOWEL = rb"[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]", rb"[aeiouyAEIOUY]"
_SYLLABLES = rb"(?:" + _CONSONANT + rb"{0,3}" + _VOWEL + rb"){1,19}" + _CONSONANT + rb"{0,4}(?![A-Za-z])"
_WORD = rb"(?=[A-Za-z][a-z]{1,19}(?![A-Za-z]))" + _SYLLABLES
_WORDS = re.compile(rb"(?<![A-Za-z]) ?" + _WORD + rb"(?: " + _WORD + rb")*+")
"""Letters that can be spoken, at most twenty, small or with one capital in front."""

_ASCII = bytes(range(128))
_KANA = re.compile("[\u3001-\u3002\u3041-\u3093\u30a1-\u30f6\u30fc]+")
"""Characters of three bytes of which every vocabulary joins two. Of the Chinese ones small vocabularies join none in many."""

_RARE = b"jkqvwxzJKQVWXZ"
"""Letters that stand in pairs which a small vocabulary does not join; each stands in two at most."""

_APART = tuple(b"cg dg gd gf hf hg lg lh mh nh tg yb yc yf yh".split())
"""The pairs of other letters that it does not join."""

_PIECE = 32 << 10
"""Characters that one call of a regular expression goes through: it holds the interpreter's lock until its end."""

_LONGEST_WORD = 20
_NOT_A_LETTER = re.compile("[^A-Za-z]")


def weight(text: str) -> int:
    """Characters as English has them: a quarter of it is about the number of tokens, in any script."""
    if text.isascii():
        return len(text)
    return sum(map(_weight, (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))))


def _weight(text: str) -> int:
    raw = text.encode(errors="replace")
    beyond = len(raw.translate(None, _ASCII))
    return len(raw) + beyond


def about(characters: int) -> int:
    """Tokens of so many characters."""
    return -(-characters // CHARACTERS_A_TOKEN)


def most_of_text(text: str) -> int:
    """The most tokens that a text has in any vendor's vocabulary, also one that is made up against vocabularies."""
    if len(text) <= _PIECE:
        return _most_of_piece(text)
    tokens = begin = 0
    while begin < len(text):
        end = _end_of_piece(text, begin)
        # Half a token is lost with each piece; and where a run of letters is cut, its end may look like a word.
        tokens += _most_of_piece(text[begin:end]) + 1 + (_LONGEST_WORD if text[end - 1 : end + 1].isalpha() else 0)
        begin = end
    return tokens


def _end_of_piece(text: str, begin: int) -> int:
    """Where a piece ends: before a character that is no letter, unless no word is as long as what stands there."""
    end = begin + _PIECE
    found = _NOT_A_LETTER.search(text, end, end + 2 * _LONGEST_WORD)
    return found.start() if found else min(end + 2 * _LONGEST_WORD, len(text))


def _most_of_piece(text: str) -> int:
    raw = text.encode(errors="replace")
    rest, runs = _WORDS.subn(b"", raw)
    kana = 0 if text.isascii() else len(text) - len(_KANA.sub("", text))
    spoken = len(raw) - len(rest)
    if not spoken:
        return len(raw) - kana
    words = runs + raw.count(b" ") - rest.count(b" ")
    rare = spoken - len(raw.translate(None, _RARE)) + len(rest.translate(None, _RARE))
    # Pairs in what is no word are counted with the others: bytes bound the sum.
    parts = runs + words + 2 * rare + sum(raw.count(pair) for pair in _APART)
    return len(rest) + min(spoken, (2 * spoken + parts) // 3) - kana


def tokens_of(request: ChatRequest) -> int:
    """About how many tokens the input has: all words and names in it, the tools' descriptions, and what is attached."""
    size = weight(request.instructions or "")
    attached = 0
    for message in request.messages:
        size += sum(weight(text) for text in _names(message))
        size += sum(weight(text) for text in _texts(message.parts))
        attached += sum(_attached(part, "") for part in message.parts) // 4
    if described := _described(request):
        size += weight(described)
    if request.provider_options:
        size += weight(_json(request.provider_options))
    return about(size) + attached


def most_input(request: ChatRequest, target: Target) -> int:
    """The most tokens that the input of a call to a target can have; never more than the model's window takes."""
    own = _most_worded(request, target.model) + most_of(request.provider_options)
    natives = (
        most_of(body, target.model, content=True) for dialect, body in request.native.items() if target.speaks(dialect)
    )
    most = max([own, *natives])
    window = target.info.context if target.checked and target.info is not None else None
    return most if window is None else min(most, window)


def predicted_of(request: ChatRequest) -> int:
    """The most tokens of an answer that is foretold: OpenAI charges what of it is wrong as output, beside the answer."""
    bodies = (request.provider_options, *request.native.values())
    return max((most_of(told) for body in bodies if (told := body.get("prediction"))), default=0)


def searches_of(request: ChatRequest) -> int:
    """The most searches, and runs of its other tools, that a vendor is taken to make for a call: its bound, or `SEARCHES`."""
    tools: list[Any] = [{"type": "web_search", **tool.options} for tool in request.tools if isinstance(tool, WebSearch)]
    for body in (request.provider_options, *request.native.values()):
        found = body.get("tools")
        tools += [tool for tool in found if isinstance(tool, Mapping)] if isinstance(found, list | tuple) else []
        tools += [{"type": "web_search"}] * ("web_search_options" in body)
    return max((_searches(tool) for tool in tools), default=0)


def _searches(tool: Mapping[str, Any]) -> int:
    kind, bound = tool.get("type"), tool.get("max_uses")
    searches = (isinstance(kind, str) and kind.startswith(_RUN_BY_VENDORS)) or not _RUN_BY_GOOGLE.isdisjoint(tool)
    if not searches:
        return 0
    return bound if isinstance(bound, int) and not isinstance(bound, bool) and 0 <= bound < MOST_SEARCHES else SEARCHES


def kept_for(request: ChatRequest) -> Literal["minutes", "hour"] | None:
    """For how long the input is to stay in a vendor's prompt cache, to be written into which costs more."""
    marked: list[Any] = [part for message in request.messages for part in message.parts]
    marks = [mark for each in (*marked, *request.tools) if (mark := getattr(each, "cache", None))]
    rest: list[Any] = [request.provider_options, *request.native.values()]
    while rest:
        each = rest.pop()
        if isinstance(each, Mapping):
            if isinstance(mark := each.get("cache_control"), Mapping):
                marks.append(mark)
            rest.extend(each.values())
        elif isinstance(each, list | tuple):
            rest.extend(each)
    if not marks:
        return None
    return "hour" if any(mark.get("ttl") == "1h" for mark in marks) else "minutes"


def sound_of(request: ChatRequest) -> int:
    """The most tokens of sound among those of the input."""
    parts = (part for message in request.messages for part in message.parts if isinstance(part, AudioPart))
    return sum(_attached(part, "") for part in parts)


def most_of(value: Any, model: str = "", *, content: bool = False) -> int:
    """The most tokens of a body in a vendor's own words: its names, texts and figures, and what is attached.

    With `content` the body has messages: only the base64 of a file or a picture in these is no text.
    """
    tokens, rest = 0, [(value, content)]
    while rest:
        each, inside = rest.pop()
        if isinstance(each, str):
            tokens += most_of_text(each)
        elif isinstance(each, Mapping):
            attached, data = _block(each, model)
            tokens += attached + sum(most_of_text(str(name)) + 3 for name in each)
            rest.extend(
                (_without(of, data) if inside and data else of, inside and name in _CONTENT)
                for name, of in each.items()
            )
        elif isinstance(each, list | tuple):
            tokens += len(each)
            rest.extend((of, inside) for of in each)
        else:
            tokens += len(str(each))
    return tokens


def _most_worded(request: ChatRequest, model: str) -> int:
    tokens = most_of_text(request.instructions or "") + MESSAGE_OVERHEAD * len(request.messages) + REQUEST_OVERHEAD
    for message in request.messages:
        tokens += sum(most_of_text(text) for text in _names(message))
        tokens += sum(_attached(part, model) for part in message.parts)
        tokens += sum(most_of_text(text) for text in _texts(message.parts))
    if described := _described(request):
        tokens += most_of_text(described)
    if request.tools:
        tokens += TOOLS_OVERHEAD
    return tokens


def _described(request: ChatRequest) -> str:
    """The tools and the form of the answer, as a vendor is told of them; empty where there are none."""
    described = [*request.tools, *([request.response_format] if request.response_format is not None else ())]
    return _json(described) if described else ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _names(message: Message) -> Iterable[str]:
    """What stands beside the parts of a message: templates may show all of it to the model."""
    yield message.name or ""
    yield message.tool_call_id or ""
    for call in message.tool_calls:
        yield from (call.call_id, call.name, call.arguments, call.signature or "")


def _texts(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        match part:
            case TextPart():
                yield part.text
            case ReasoningPart():
                yield from (part.text, part.signature or "", part.id or "")
            case FilePart():
                yield from (part.name or "", part.media_type or "", part.url or "")
            case ImagePart():
                yield part.media_type or ""


def _attached(part: Part, model: str) -> int:
    match part:
        case ImagePart():
            return _picture(model)
        case AudioPart():
            rate = _RAW_RATE if part.format in _RAW else _PACKED_RATE
            return _bytes(part.data) * SOUND_A_SECOND // rate + SOUND_A_SECOND
        case FilePart():
            return FAR_FILE if part.data is None else _file(len(part.data), part.media_type)
        case _:
            return 0


def _picture(model: str) -> int:
    return DEAR_PICTURE if any(dear in model for dear in _DEAR) else PICTURE


def _file(characters: int, media_type: Any) -> int:
    """Of a file in base64: a page at least, and a token for each byte, or for two where it is packed."""
    size = characters * 3 // 4
    return PICTURE + (size // 2 if media_type == _PACKED else size)


def _block(block: Mapping[str, Any], model: str) -> tuple[int, str]:
    """Tokens of what a block in a vendor's own words attaches, and the base64 that these stand for."""
    kind = block.get("type")
    if kind in _PICTURES and not isinstance(block.get("properties"), Mapping):
        return _picture(model), _base64(block)
    if kind in _DOCUMENTS and any(name in block for name in _PLACES):
        if data := _base64(block):
            return _file(len(data), _type(block)), data
        source = block.get("source")
        return (PICTURE if isinstance(source, Mapping) and source.get("type") in ("text", "content") else FAR_FILE), ""
    return 0, ""


def _base64(block: Mapping[str, Any]) -> str:
    """The content in base64 of a block; empty where it has none."""
    for place in (block.get(name) for name in _PLACES):
        if isinstance(place, str) and place.startswith("data:"):
            return place
        if isinstance(place, Mapping) and place.get("type") != "text":
            for name in ("data", "file_data", "url"):
                data = place.get(name)
                if isinstance(data, str) and (name != "url" or data.startswith("data:")):
                    return data
    return ""


def _type(block: Mapping[str, Any]) -> Any:
    source = block.get("source")
    return source.get("media_type") if isinstance(source, Mapping) else None


def _without(value: Any, data: str) -> Any:
    """A member of a block without its base64, one level deep as blocks have it."""
    if isinstance(value, Mapping):
        return {name: "" if each is data else each for name, each in value.items()}
    return "" if value is data else value


def _bytes(base64: str) -> int:
    return len(base64) * 3 // 4
