"""`/v1/models`: the catalogue in OpenAI's shape, with what the engine knows of each model beside it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api import Answer, HttpRequest, ModelInfo, Price, Providers, Route
from plugins.openai_api.errors import answer_error
from plugins.openai_api.naming import ModelNames


class ModelCard(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A model that can be used now; what follows `owned_by` is ours.

    `created` is 0: the catalogue does not know it. `context` and `max_output` are in tokens, prices in US dollars for a
    million of them.
    """

    id: str
    object: str
    created: int
    owned_by: str
    shutdown_date: str | None = None
    role: str | None = None
    aliases: list[str] = []
    context: int | None = None
    max_output: int | None = None
    capabilities: list[str] = []
    price: Price | None = None
    successor: str | None = None
    description: str = ""


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
                returns=ModelList,
                errors=answer_error,
                summary="The models that can be used now, in OpenAI's shape.",
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

    async def all(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(ModelList(object="list", data=[_card(info) for info in self._providers.models()]))

    async def one(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(self._find(request.path["model"]))

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
