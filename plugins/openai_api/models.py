"""`/v1/models`: the catalogue in OpenAI's shape, with what the engine knows of each model beside it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api import Answer, EngineError, HttpRequest, ModelInfo, Providers, Route
from plugins.openai_api.anthropic_models import ModelsQuery, anthropic_model, anthropic_page, is_anthropics
from plugins.openai_api.errors import answer_error
from plugins.openai_api.messages_errors import answer_error as anthropic_error
from plugins.openai_api.models_cards import ModelCard
from plugins.openai_api.naming import ModelNames


class ModelList(msgspec.Struct, kw_only=True):
    """Every model that can be used now."""

    object: Literal["list"]
    data: list[ModelCard]


class Models:
    """Answers what models there are."""

    def __init__(self, providers: Providers, names: ModelNames) -> None:
        self._providers = providers
        self._names = names

    def routes(self) -> list[Route]:
        """The list, and each model under its name, which may have any number of slashes."""
        return [
            Route(
                method="GET",
                path="/v1/models",
                handler=self.all,
                query=ModelsQuery,
                returns=ModelList,
                errors=answer_error,
                summary="The models that can be used now, in OpenAI's shape; with anthropic-version in Anthropic's.",
                tag="openai",
            ),
            Route(
                method="GET",
                path="/v1/models/{model}",
                rest=True,
                handler=self.one,
                returns=ModelCard,
                errors=answer_error,
                summary="One model by its id, an alias or vendor/model; its slashes need no encoding.",
                tag="openai",
                statuses={404: "model_not_found, feature_disabled", 410: "model_retired", 503: "model_unavailable"},
            ),
        ]

    async def all(self, request: HttpRequest[Any, ModelsQuery]) -> Answer:
        cards = [_card(info) for info in self._providers.models()]
        if not is_anthropics(request.headers):
            return Answer(ModelList(object="list", data=cards))
        try:
            return Answer(anthropic_page(cards, request.query))
        except EngineError as error:
            return anthropic_error(error, request.id)

    async def one(self, request: HttpRequest[Any, Any]) -> Answer:
        if not is_anthropics(request.headers):
            return Answer(self._find(request.path["model"]))
        try:
            return Answer(anthropic_model(self._find(request.path["model"])))
        except EngineError as error:
            return anthropic_error(error, request.id)

    def _find(self, name: str) -> ModelCard:
        for info in self._providers.models():
            if name in (info.id, f"{info.provider}/{info.vendor_model}"):
                return _card(info, name)
        target = self._names.find(name).target
        if target.info is not None:
            return _card(target.info, name)
        return ModelCard(id=name, object="model", created=0, owned_by=target.provider.name, role="chat")


def _card(info: ModelInfo, name: str | None = None) -> ModelCard:
    """A catalogue entry under the name that was asked for."""
    return ModelCard(
        id=name or info.id,
        object="model",
        created=0,
        owned_by=info.provider,
        shutdown_date=info.retires_on.isoformat() if info.retires_on else None,
        role=info.role,
        aliases=list(info.aliases),
        context=info.context,
        max_output=info.max_output,
        capabilities=sorted(info.capabilities),
        price=info.price,
        successor=info.successor,
        description=info.description,
    )
