"""The packaged model is told to be brief, unless a request says what it is to be."""

from __future__ import annotations

from pathlib import Path

from engine.api import ChatRequest
from plugins.local.chat import SAMPLER, SYSTEM, TEMPERATURE, guided, model_info
from plugins.local.settings import LocalSettings
from tests.plugins.local.test_joined_answers import said


def test_a_bare_request_gets_a_system_line_and_a_calm_sampler() -> None:
    request = guided(ChatRequest(model="local", messages=(said("user", "Hi"),)))
    assert [(message.role, message.text) for message in request.messages] == [("system", SYSTEM), ("user", "Hi")]
    assert request.temperature == TEMPERATURE
    assert request.provider_options == SAMPLER


def test_what_a_request_says_itself_stays() -> None:
    messages = (said("developer", "You are a pirate."), said("user", "Hi"))
    asked = ChatRequest(model="local", messages=messages, temperature=0.0, provider_options={"repeat_penalty": 1.3})
    request = guided(asked)
    assert (request.messages, request.temperature) == (messages, 0.0)
    assert request.provider_options == {**SAMPLER, "repeat_penalty": 1.3}


def test_an_own_model_takes_tools_where_its_template_does(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    for template, tools in ((b"{% if tools %}", True), (b"{{ messages }}", False)):
        file.write_bytes(b"GGUFtokenizer.chat_template\x08\0\0\0" + len(template).to_bytes(8, "little") + template)
        assert ("tools" in model_info(LocalSettings(model_path=file)).capabilities) is tools
    assert "tools" not in model_info(LocalSettings()).capabilities
    assert "demo model of 135M" in model_info(LocalSettings()).description
