"""Names become chains."""

from datetime import date
from typing import ClassVar, Literal

import pytest

from engine.api import (
    FeatureDisabled,
    ModelInfo,
    ModelNotFound,
    ModelRetired,
    ModelUnavailable,
    ProviderRole,
    StorageUnavailable,
    TextDelta,
)
from engine.providers import Catalogue, ProviderClash, Registry
from engine.providers.registry import ModelRules
from engine.testing import RecordingWriter, ScriptedProvider, answer
from tests.engine.providers.conftest import play

OLD = ModelInfo(id="old", provider="acme", retires_on=date(2026, 1, 1), successor="older-heir")
HEIR = ModelInfo(id="older-heir", provider="acme", retires_on=date(2026, 6, 1), successor="new")
NEW = ModelInfo(id="new", provider="acme", model="acme-new-1", aliases=("newest",))
OTHER = ModelInfo(id="other", provider="absent")
VOICE = ModelInfo(id="voice", provider="acme", role="speech")
CATALOGUE = Catalogue([OLD, HEIR, NEW, OTHER, VOICE])


def acme(*, unavailable: str | None = None, own_address: bool = True) -> ScriptedProvider:
    return ScriptedProvider(*answer("hi"), name="acme", unavailable=unavailable, own_address=own_address)


def registry(
    *providers: ScriptedProvider,
    aliases: dict[str, str] | None = None,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
    default_model: str = "local",
    retired: Literal["error", "successor"] = "error",
    today: date = date(2026, 11, 23),
) -> Registry:
    return Registry(
        [("plugin", provider) for provider in providers or (acme(),)],
        CATALOGUE,
        ModelRules(aliases=aliases or {}, fallbacks=fallbacks or {}, default=default_model, retired=retired),
        today=lambda: today,
    )


@pytest.mark.parametrize("name", ["new", "newest", "acme/new", "acme/newest", "acme/acme-new-1", "mine", "my-own"])
def test_a_model_answers_to_all_its_names(name: str) -> None:
    [target] = registry(aliases={"mine": "my-own", "my-own": "newest"}).chat(name).targets
    assert (target.name, target.info, target.checked) == ("acme/acme-new-1", NEW, True)


def test_an_alias_of_the_operator_wins_over_the_catalogue() -> None:
    assert registry(aliases={"new": "acme/special"}).chat("new").targets[0].model == "special"


def test_an_unknown_model_passes_through_to_its_vendor_with_its_whole_name() -> None:
    [target] = registry().chat("acme/team/model:free").targets
    assert (target.model, target.info) == ("team/model:free", None)


def test_a_provider_with_a_default_model_answers_to_its_bare_name() -> None:
    local = ScriptedProvider(name="local", default_model="local")
    [target] = registry(local).chat(None).targets
    assert target.name == "local"


def test_a_provider_without_a_default_model_asks_for_one() -> None:
    with pytest.raises(ModelNotFound, match="acme/<model>"):
        registry().chat("acme")


def test_a_name_that_stands_for_several_things_is_suggested_once() -> None:
    local = ScriptedProvider(name="local", default_model="local")
    names = registry(local, aliases={"local": "local"})
    with pytest.raises(ModelNotFound, match=r"did you mean 'local'\?$"):
        names.chat("locl")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match="did you mean 'newest'") as error:
        registry().chat("newst")
    assert error.value.field == "model"


def test_a_model_for_another_role_is_not_for_chat() -> None:
    with pytest.raises(ModelNotFound, match="speech"):
        registry().chat("voice")


@pytest.mark.parametrize("name", ["other", "absent/anything"])
def test_a_model_whose_provider_is_off_is_unavailable(name: str) -> None:
    with pytest.raises(ModelUnavailable, match="'absent'"):
        registry().chat(name)


def test_a_provider_that_cannot_serve_tells_its_reason() -> None:
    with pytest.raises(ModelUnavailable, match="set ACME_API_KEY"):
        registry(acme(unavailable="set ACME_API_KEY")).chat("new")


def test_a_default_that_is_not_there_warns_and_is_unavailable_in_use() -> None:
    providers = registry(default_model="local")
    assert [warning for warning in providers.warnings() if "default" in warning and "'local'" in warning]
    with pytest.raises(ModelUnavailable, match=r"\[models\] default"):
        providers.chat(None)


def test_warnings_name_aliases_and_fallbacks_that_lead_nowhere() -> None:
    told = registry(aliases={"fast": "nope"}, fallbacks={"new": ("gone",)}, default_model="new").warnings()
    assert [warning.split(":")[0] for warning in told] == ["[models] aliases.fast", "[models] fallbacks.new"]


def test_a_retired_model_is_an_error_that_names_the_last_successor() -> None:
    with pytest.raises(ModelRetired, match=r"old was retired .* on 2026-01-01; use new instead"):
        registry().chat("old")


def test_a_model_is_not_retired_before_its_day() -> None:
    assert registry(today=date(2025, 12, 31)).chat("old").targets[0].model == "old"
    with pytest.raises(ModelRetired):
        registry(today=date(2026, 1, 1)).chat("old")


async def test_a_successor_answers_with_a_status_if_the_operator_says_so(writer: RecordingWriter) -> None:
    chain = registry(retired="successor").chat("old")
    assert [target.model for target in chain.targets] == ["acme-new-1"]
    await play(chain, writer)
    [(stage, detail)] = writer.statuses
    assert stage == "successor"
    assert detail is not None
    assert "old was retired" in detail
    assert "acme/acme-new-1" in detail


def test_behind_another_address_nothing_is_retired_or_checked() -> None:
    [target] = registry(acme(own_address=False)).chat("old").targets
    assert (target.model, target.checked) == ("old", False)


@pytest.mark.parametrize("key", ["alias", "new", "newest", "acme/acme-new-1"])
def test_fallbacks_are_found_under_any_name_of_the_model(key: str) -> None:
    providers = registry(
        acme(), ScriptedProvider(name="spare"), aliases={"alias": "new"}, fallbacks={key: ("spare/a",)}
    )
    assert [target.name for target in providers.chat("alias").targets] == ["acme/acme-new-1", "spare/a"]


async def test_a_fallback_serves_where_the_models_own_provider_is_off(writer: RecordingWriter) -> None:
    spare = ScriptedProvider(*answer("spare"), name="spare")
    chain = registry(acme(), spare, fallbacks={"other": ("old", "spare/a")}).chat("other")
    assert (await play(chain, writer))[0] == TextDelta("spare")
    assert writer.statuses[0][0] == "fallback"
    assert writer.model == "spare/a"


def test_models_lists_what_can_be_used_now() -> None:
    assert [info.id for info in registry().models("chat")] == ["new"]
    assert registry(acme(unavailable="no key")).models() == ()
    assert set(registry().known()) == {"old", "older-heir", "new", "other", "voice"}


def test_get_finds_a_provider_or_says_what_there_is() -> None:
    provider = acme()
    assert registry(provider).get("chat", "acme") is provider
    with pytest.raises(ModelUnavailable, match="those that are on: acme"):
        registry(provider).get("chat", "nope")
    with pytest.raises(ModelUnavailable, match="no key"):
        registry(acme(unavailable="no key")).get("chat", "acme")


def test_two_providers_of_one_name_are_a_clash_that_names_both_plugins() -> None:
    with pytest.raises(ProviderClash, match=r"'alpha' and 'beta'.*chat provider 'acme'"):
        Registry([("alpha", acme()), ("beta", acme())])


def test_a_swap_replaces_the_table_whole_or_not_at_all() -> None:
    providers = registry()
    before = providers.chat("new")
    with pytest.raises(ProviderClash):
        providers.prepared([("alpha", acme()), ("beta", acme())], CATALOGUE)
    assert providers.chat("new").targets == before.targets
    providers.place(providers.prepared([("alpha", ScriptedProvider(name="fresh"))], Catalogue()))
    assert providers.chat("fresh/x").targets[0].name == "fresh/x"
    with pytest.raises(ModelNotFound):
        providers.chat("new")
    assert before.targets[0].name == "acme/acme-new-1"


class Cellar:
    """A store that is only found, and never asked for anything."""

    role: ClassVar[ProviderRole] = "object_store"

    def __init__(self, name: str, unavailable: str | None = None) -> None:
        self.name = name
        self.unavailable = unavailable


def test_files_go_to_the_first_store_that_can_serve() -> None:
    flooded, dry, spare = Cellar("flooded", "it is under water"), Cellar("dry"), Cellar("spare")
    assert Registry([("a", flooded), ("b", dry), ("c", spare)]).objects().name == "dry"


def test_a_store_that_cannot_serve_says_why() -> None:
    with pytest.raises(StorageUnavailable, match="it is under water"):
        Registry([("a", Cellar("flooded", "it is under water"))]).objects()


def test_without_a_store_the_operator_is_told_what_to_switch_on() -> None:
    with pytest.raises(FeatureDisabled, match="provider for object_store"):
        registry().objects()


OFF = {"zeta": "the plugin 'zeta', which is off; `betterai plugins enable zeta` switches it on"}


@pytest.mark.parametrize("name", ["zeta", "zeta/large", "mine"])
def test_a_name_of_a_plugin_that_is_off_names_the_plugin(name: str) -> None:
    names = registry(aliases={"mine": "zeta/large"})
    names.place(names.prepared([("alpha", acme())], CATALOGUE, absent=OFF))
    with pytest.raises(FeatureDisabled, match="belongs to the plugin 'zeta', which is off") as error:
        names.chat(name)
    assert error.value.field == "model"


@pytest.mark.parametrize("name", ["rigel/deep", "rigel", "star"])
def test_a_provider_whose_plugin_was_switched_off_names_the_plugin(name: str) -> None:
    names = registry()
    star = ModelInfo(id="rigel-1", provider="rigel", aliases=("star",))
    rigel = ScriptedProvider(name="rigel", default_model="rigel-1")
    names.place(names.prepared([("zeta", rigel)], Catalogue([star])))
    names.place(names.prepared([("alpha", acme())], CATALOGUE, absent=OFF))
    with pytest.raises(FeatureDisabled, match="the plugin 'zeta', which is off"):
        names.chat(name)
    names.place(names.prepared([("zeta", rigel)], Catalogue([star])))
    assert names.chat(name).targets[0].provider is rigel


def test_a_fallback_answers_for_a_model_of_a_plugin_that_is_off() -> None:
    names = registry(fallbacks={"zeta/large": ("new",)})
    names.place(names.prepared([("alpha", acme())], CATALOGUE, absent=OFF))
    assert names.chat("zeta/large").targets[0].info == NEW


def test_defaults_and_aliases_of_a_plugin_that_is_off_are_warned_of() -> None:
    names = registry(aliases={"mine": "zeta/large"}, default_model="zeta")
    names.place(names.prepared([("alpha", acme())], CATALOGUE, absent=OFF))
    default, alias = names.warnings()
    assert default.startswith("[models] default: 'zeta' belongs to the plugin 'zeta', which is off")
    assert alias.startswith("[models] aliases.mine: 'zeta/large' belongs to the plugin 'zeta'")
