"""A provider that fails when it is asked about itself is named in every list, and hides nothing of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

import aiohttp
import pytest
import pytest_asyncio

from engine.api import (
    HealthCheck,
    ModelInfo,
    Plugin,
    PluginContext,
    Provider,
    ProviderRole,
    Route,
    Voice,
    hookimpl,
)
from engine.loader.find import given_plugins, installed_plugins
from engine.main import Engine
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sick:
    """Fails whenever it is asked what it needs, in one role."""

    name = "sick"
    default_model = "m1"

    def __init__(self, role: ProviderRole) -> None:
        self.role = role

    @property
    def unavailable(self) -> str | None:
        raise ModuleNotFoundError("No module named 'half' at http://10.0.0.7")


class Mute:
    """A voice that can serve, and whose list of voices fails."""

    role: ClassVar[ProviderRole] = "speech"
    unavailable: str | None = None
    default_model = "m1"

    def __init__(self, name: str, answer: object) -> None:
        self.name, self._answer = name, answer

    def voices(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._listed()

    async def _listed(self) -> Any:
        return self._answer


class Shapeless:
    """A type that no schema describes."""


def broken() -> Any:
    raise OSError("the disk is gone")


class Failing(Plugin):
    """Everything that is listed of it fails."""

    name = "failing"

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        roles: tuple[ProviderRole, ...] = ("chat", "speech", "transcription", "embedding", "realtime", "object_store")
        voices = (
            Mute("mute", RuntimeError("no voice")),
            Mute("odd", ["alloy"]),
            Mute("fine", [Voice(id="v1", name="One")]),
        )
        return [*map(Sick, roles), *voices]  # type: ignore[list-item]

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return [ModelInfo(id="sick-1", provider="sick")]

    @hookimpl
    def register_health_checks(self, context: PluginContext) -> Iterable[HealthCheck]:
        return [HealthCheck("disk", broken)]

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        async def answer(request: Any) -> Any: ...

        return [Route(method="GET", path="/api/v1/shapeless", handler=answer, returns=Shapeless)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    installed = {**installed_plugins(), **given_plugins(Failing)}
    settings = {"plugins.enabled": ["chat", "openai_api", "audio", "tts", "realtime", "storage", "failing"]}
    async with engine_inside(tmp_path_factory.mktemp("failing"), settings, installed=installed) as running:
        yield running


async def ask(engine: Engine, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{engine.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url, allow_redirects=False) as answer:
        return answer.status, await answer.json() if "json" in answer.content_type else await answer.text()


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models"])
async def test_models_of_other_providers_are_listed(engine: Engine, path: str) -> None:
    status, body = await ask(engine, path)
    assert status == 200
    assert "sick-1" not in str(body)


async def test_the_status_names_the_provider_with_the_kind_of_its_error(engine: Engine) -> None:
    status, body = await ask(engine, "/api/v1/admin/status")
    sick = [each for each in body["providers"] if each["name"] == "sick"]
    assert (status, len(sick), {each["state"] for each in sick}) == (200, 6, {"unavailable"})
    assert "ModuleNotFoundError" in sick[0]["reason"]
    assert "10.0.0.7" not in str(body)
    assert {"local", "openai"} <= {each["name"] for each in body["providers"]}


async def test_voices_of_other_providers_are_listed_and_the_missing_are_named(engine: Engine) -> None:
    status, body = await ask(engine, "/api/v1/tts/voices")
    missing = {each["model"]: each["message"] for each in body["missing"]}
    assert status == 200
    assert [each["id"] for each in body["voices"] if each["model"] == "fine"] == ["v1"]
    assert "ModuleNotFoundError" in missing["sick"]
    assert "RuntimeError" in missing["mute"]
    assert "not a Voice" in missing["odd"]


async def test_the_health_page_names_the_check_that_failed(engine: Engine) -> None:
    status, body = await ask(engine, "/health/ready")
    assert (status, body["status"]) == (200, "degraded")
    assert {"name": "failing.disk", "state": "degraded", "detail": "the check itself failed: OSError"} in body["checks"]


async def test_a_request_for_its_model_is_refused_by_name(engine: Engine) -> None:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
        http.post("/api/v1/chat", json={"input": "Hi", "model": "sick/sick-1"}) as answer,
    ):
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (503, "model_unavailable")
    assert "sick" in problem["detail"]


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json", "/docs", "/metrics", "/v1/audio/voices"])
async def test_the_documents_are_whole(engine: Engine, path: str) -> None:
    status, body = await ask(engine, path)
    assert status in (200, 404), body
    if path == "/openapi.json":
        assert "/v1/models" in body["paths"]
        assert "/api/v1/shapeless" in body["paths"]
