"""The history over HTTP: requests as they come in, answers as they go out."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from engine.api.errors import Conflict, EngineError, InvalidRequest
from engine.api.identity import Principal
from engine.api.routes import Answer
from engine.http.answers import encode_body
from engine.http.openapi import openapi
from engine.http.table import RouteTable
from engine.http.typed import typed_request
from plugins.chat.history.routes import routes
from plugins.chat.history.store import History
from tests.plugins.chat.history.kit import Talk

ROOT = "/api/v1/conversations"


class Client:
    """Sends requests through the route table, as one principal."""

    def __init__(self, history: History, principal: Principal) -> None:
        self.answer = Answer()
        self._table = RouteTable([("chat", route) for route in routes(history)])
        self._principal = principal

    async def __call__(self, method: str, address: str, body: Any = None) -> Any:
        """The answer's body; raises the error that it would be."""
        parts = urlsplit(address)
        match = self._table.resolve(method, parts.path)
        request = typed_request(
            match.route,
            principal=self._principal,
            request_id="r",
            path=match.path,
            query=parse_qsl(parts.query, keep_blank_values=True),
            headers={} if body is None else {"content-type": "application/json"},
            body=b"" if body is None else json.dumps(body).encode(),
        )
        answer = await match.route.handler(request)
        assert isinstance(answer, Answer)
        assert answer.status == match.route.status
        self.answer = answer
        sent = encode_body(answer.body)
        return json.loads(sent) if answer.content_type == "application/json" and sent else sent.decode()


@pytest.fixture
def client(history: History, me: Principal) -> Client:
    return Client(history, me)


async def test_a_conversation_is_made_changed_listed_and_removed(client: Client) -> None:
    made = await client("POST", ROOT, {"title": " Trip ", "tags": ["a", "b", "a"]})
    assert (made["title"], made["titled_by"], made["tags"], made["favourite"]) == ("Trip", "user", ["a", "b"], False)
    one = client.answer.headers["Location"]
    assert one == f"{ROOT}/{made['id']}"

    changed = await client("PATCH", one, {"title": "Journey", "favourite": True})
    assert (changed["title"], changed["favourite"], changed["tags"]) == ("Journey", True, ["a", "b"])
    listed = await client("GET", f"{ROOT}?limit=5&tag=a&favourite=true")
    assert [each["id"] for each in listed["conversations"]] == [made["id"]]
    assert listed["next"] is None

    assert await client("DELETE", one) == ""
    with pytest.raises(EngineError, match="you have no conversation of this id"):
        await client("GET", one)


async def test_an_empty_body_makes_an_unnamed_conversation(client: Client) -> None:
    assert (await client("POST", ROOT))["title"] == "New chat"


async def test_a_conversation_shows_its_branch_and_the_stream_that_runs(
    client: Client, history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.turn("Hello", "Hi!")
    (await history.claims.here()).take(me, opened.conversation, "s_running")
    shown = await client("GET", f"{ROOT}/{opened.conversation}")
    assert shown["running_stream"] == "s_running"
    question, answer = shown["messages"]
    assert question["content"] == [{"type": "text", "text": "Hello"}]
    assert question["created_at"].endswith("Z")
    assert (answer["role"], answer["parent"], answer["status"]) == ("assistant", question["id"], "completed")
    assert answer["usage"]["input_tokens"] == 3
    assert (await client("GET", ROOT))["conversations"][0]["running_stream"] == "s_running"


async def test_messages_are_listed_as_a_branch_or_as_a_tree(client: Client, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    await talk.turn("eins", "zwei", opened.conversation, parent="root")
    address = f"{ROOT}/{opened.conversation}/messages"
    assert [each["text"] for each in (await client("GET", address))["messages"]] == ["eins", "zwei"]
    tree = await client("GET", f"{address}?view=tree")
    assert [each["text"] for each in tree["messages"]] == ["one", "two", "eins", "zwei"]
    with pytest.raises(InvalidRequest, match="view"):
        await client("GET", f"{address}?view=all")


async def test_a_message_is_read_edited_and_removed(client: Client, talk: Talk) -> None:
    opened = await talk.turn("hwo?", "so")
    messages = f"{ROOT}/{opened.conversation}/messages"
    edited = await client("PATCH", f"{messages}/{opened.leaf}", {"text": "how?"})
    assert edited["siblings"] == [opened.leaf, edited["id"]]
    assert (await client("GET", f"{messages}/{edited['id']}"))["text"] == "how?"
    assert (await client("DELETE", f"{messages}/{edited['id']}"))["leaf"] == opened.answer


async def test_a_branch_is_chosen_by_a_message_of_it(client: Client, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    await talk.turn("eins", "zwei", opened.conversation, parent="root")
    changed = await client("PATCH", f"{ROOT}/{opened.conversation}", {"leaf": opened.leaf})
    assert changed["leaf"] == opened.answer


async def test_nothing_is_taken_away_under_a_running_turn(
    client: Client, history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.ask("Hello")
    (await history.claims.here()).take(me, opened.conversation, "s_running")
    for address in (f"{ROOT}/{opened.conversation}", f"{ROOT}/{opened.conversation}/messages/{opened.leaf}"):
        with pytest.raises(Conflict, match="s_running"):
            await client("DELETE", address)
    assert await talk.words(opened.conversation) == ["Hello"]


async def test_a_stranger_learns_nothing_of_a_running_turn(
    history: History, me: Principal, stranger: Principal, talk: Talk
) -> None:
    opened = await talk.ask("Hello")
    client = Client(history, stranger)
    (await history.claims.here()).take(me, opened.conversation, "s_running")
    for method, address in (
        ("DELETE", f"{ROOT}/{opened.conversation}"),
        ("DELETE", f"{ROOT}/{opened.conversation}/messages/{opened.leaf}"),
        ("GET", f"{ROOT}/{opened.conversation}/export"),
    ):
        with pytest.raises(EngineError) as raised:
            await client(method, address)
        assert (raised.value.code, raised.value.status) == ("conversation_not_found", 404)


async def test_a_fork_is_a_conversation_of_its_own(client: Client, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    fork = await client("POST", f"{ROOT}/{opened.conversation}/fork", {"message": opened.leaf, "title": "Other"})
    assert (fork["title"], client.answer.headers["Location"]) == ("Other", f"{ROOT}/{fork['id']}")
    assert await talk.words(fork["id"]) == ["one"]
    whole = await client("POST", f"{ROOT}/{opened.conversation}/fork")
    assert await talk.words(whole["id"]) == ["one", "two"]


async def test_an_export_is_a_file_with_everything_or_a_document(client: Client, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    await talk.turn("eins", "zwei", opened.conversation, parent="root")
    exported = await client("GET", f"{ROOT}/{opened.conversation}/export")
    assert exported["conversation"]["title"] == "one"
    assert [each["text"] for each in exported["messages"]] == ["one", "two", "eins", "zwei"]
    assert client.answer.headers["Content-Disposition"].startswith("attachment; ")

    document = await client("GET", f"{ROOT}/{opened.conversation}/export?format=markdown")
    assert document.startswith("# one\n")
    assert "eins" in document and "two" not in document
    assert client.answer.content_type.startswith("text/markdown")


async def test_search_answers_messages_with_their_conversation(client: Client, talk: Talk) -> None:
    opened = await talk.turn("where do otters live", "By rivers")
    page = await client("GET", f"{ROOT}/search?q=otter")
    assert [(each["conversation"], each["message"]) for each in page["results"]] == [(opened.conversation, opened.leaf)]
    assert page["results"][0]["snippet"] == "where do otters live"


async def test_prompts_are_saved_changed_listed_and_removed(client: Client) -> None:
    saved = await client("POST", "/api/v1/prompts", {"title": "Haiku", "text": "Write one", "tags": ["poems"]})
    one = client.answer.headers["Location"]
    assert (await client("PATCH", one, {"text": "Write two"}))["text"] == "Write two"
    assert (await client("GET", one))["title"] == "Haiku"
    assert [each["id"] for each in (await client("GET", "/api/v1/prompts?tag=poems"))["prompts"]] == [saved["id"]]
    assert await client("DELETE", one) == ""
    assert (await client("GET", "/api/v1/prompts"))["prompts"] == []


@pytest.mark.parametrize(
    ("method", "address", "body", "field"),
    [
        ("GET", f"{ROOT}?limit=0", None, "limit"),
        ("GET", f"{ROOT}?limit=many", None, "limit"),
        ("GET", f"{ROOT}?before=yesterday", None, "before"),
        ("GET", f"{ROOT}?sort=title", None, "sort"),
        ("GET", f"{ROOT}?favourite=perhaps", None, "favourite"),
        ("GET", f"{ROOT}/search", None, "q"),
        ("POST", ROOT, {"title": "  "}, "title"),
        ("POST", ROOT, {"title": "t" * 201}, "title"),
        ("POST", ROOT, {"title": "two\nlines"}, "title"),
        ("POST", ROOT, {"tags": ['say "hi"']}, "tags.0"),
        ("POST", ROOT, {"tags": [""]}, "tags.0"),
        ("POST", ROOT, {"tags": [f"t{i}" for i in range(33)]}, "tags"),
        ("POST", ROOT, {"principal": "somebody"}, "principal"),
        ("PATCH", f"{ROOT}/c_1", {"favourite": "yes"}, "favourite"),
        ("PATCH", f"{ROOT}/c_1/messages/m_1", {"text": ""}, "text"),
        ("PATCH", f"{ROOT}/c_1/messages/m_1", {"text": 7}, "text"),
        ("GET", f"{ROOT}/c_1/export?format=pdf", None, "format"),
        ("POST", "/api/v1/prompts", {"title": "x"}, "text"),
    ],
)
async def test_a_bad_request_is_told_which_field_is_wrong(
    client: Client, method: str, address: str, body: Any, field: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await client(method, address, body)
    assert raised.value.field == field


async def test_every_route_stands_in_the_openapi_document(history: History) -> None:
    ours = routes(history)
    document = openapi(ours, version="1")
    assert {(path, method) for path, operations in document["paths"].items() for method in operations} == {
        (route.path, route.method.lower()) for route in ours
    }
    assert all(route.scope == "chat" and route.summary for route in ours)
