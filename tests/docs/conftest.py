"""A server as the pages show it, with a model of a script's in the place of the real one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path

import pytest

from engine.api import (
    ChatDeltas,
    ChatRequest,
    Finish,
    FunctionTool,
    ModelInfo,
    Plugin,
    PluginContext,
    Provider,
    ToolCall,
    Usage,
    hookimpl,
)
from engine.loader.find import given_plugins
from engine.main import Engine
from engine.testing import ScriptedProvider, answer
from tests.architecture.first_party import first_party
from tests.server import engine_inside

ANSWER = "Hello! How can I help you today?"


class LetterByLetter(ScriptedProvider):
    """Says the answer, one letter at a time; a tool that it is offered it calls first."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDeltas, None]:
        tools = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
        if tools and request.messages[-1].role != "tool":
            yield ToolCall(call_id="call_1", name=tools[0].name, arguments="{}")
            yield Finish("tool_calls")
            return
        async for deltas in super().stream(request):
            yield deltas


class Scripted(Plugin):
    """Answers as the local model does, and always the same."""

    name = "local"

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return [ModelInfo(id="local", provider="local", capabilities=frozenset({"images", "json_schema", "tools"}))]

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [LetterByLetter(*answer(*ANSWER, usage=Usage(input_tokens=3)), name="local")]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Engine]:
    """The engine on a free port, its model scripted."""
    installed = {**first_party(), **given_plugins(Scripted)}
    async with engine_inside(tmp_path, {"log.level": "critical"}, installed=installed) as engine:
        yield engine
