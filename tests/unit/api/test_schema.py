"""Schemas are structural, bounded and explained; what can't be said in one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, JsonValue, StringConstraints

from kubernaut.api.base import ApiModel
from kubernaut.api.crd import KINDS, Kind, crd_manifest
from kubernaut.api.markers import ListMap, ListSet, Rule
from kubernaut.api.schema import structural_schema

Schema = dict[str, Any]


def places(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if below in schema:
            yield from places(schema[below], f"{path}.{below}")


def all_places() -> Iterator[tuple[str, Schema]]:
    for kind in KINDS:
        schema = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            yield from places(schema["properties"][part], f"{kind.name}.{part}")


def bounded(schema: Schema) -> bool:
    match schema["type"]:
        case "string":
            return "maxLength" in schema or "enum" in schema
        case "array":
            return "maxItems" in schema
        case "integer" | "number":
            return "minimum" in schema and "maximum" in schema
        case "object":
            return "properties" in schema or "maxProperties" in schema
    return bool(schema["type"] == "boolean")


def test_everything_is_bounded() -> None:
    assert [path for path, schema in all_places() if not bounded(schema)] == []


def test_everything_is_explained() -> None:
    unexplained = [path for path, schema in all_places() if not schema.get("description")]
    assert [path for path in unexplained if not path.endswith((".items", ".additionalProperties"))] == []


def test_descriptions_are_short() -> None:
    assert [path for path, schema in all_places() if len(schema.get("description", "")) > 110] == []


def test_lists_of_objects_are_maps() -> None:
    lists = [(path, schema) for path, schema in all_places() if schema["type"] == "array"]
    # Of triggers the first that fits counts, and they have no names: they are one value.
    plain = [path for path, schema in lists if schema["items"]["type"] == "object"]
    plain.remove("Workflow.spec.triggers")
    maps = [path for path, schema in lists if schema.get("x-kubernetes-list-type") == "map"]
    assert plain == maps


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_pydantic_dialect_is_left(kind: Kind) -> None:
    text = repr(crd_manifest(kind))
    for word in (
        "$ref",
        "$defs",
        "anyOf",
        "'const'",
        "'title'",
        "'additionalProperties': False",
        "exclusive",
    ):
        assert word not in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_definition_fits_the_annotation_that_kubectl_apply_writes(kind: Kind) -> None:
    assert len(repr(crd_manifest(kind))) < 100_000


class Colour(StrEnum):
    RED = "Red"


class Inner(ApiModel):
    """An inner thing with ``code``."""

    name: Annotated[str, StringConstraints(max_length=5)]


class Outer(ApiModel):
    """An outer thing."""

    cel_rules = (Rule("self.on", "turn it on", ".on"), Rule("true", "never"))

    inner: Inner
    """Said here, not there."""
    silent: Inner | None = None
    some: Annotated[list[Inner], Field(max_length=2), ListMap("name")] = Field(default_factory=list)
    tags: Annotated[list[str], Field(max_length=2), ListSet()] = Field(default_factory=list)
    anything: Annotated[dict[str, JsonValue], Field(max_length=3)] | None = None
    labels: Annotated[dict[str, str], Field(max_length=3)] = Field(default_factory=dict)
    colour: Colour = Colour.RED
    only: Literal["this"] = "this"
    on: bool = False
    count: Annotated[int, Field(ge=0, le=9)] = 3
    empty: str = ""


def test_what_a_model_says_is_said_in_the_schema() -> None:
    schema = structural_schema(Outer)
    inner = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}},
        "required": ["name"],
    }
    here = inner | {"description": "An inner thing with `code`."}
    assert schema == {
        "description": "An outer thing.",
        "type": "object",
        "required": ["inner"],
        "x-kubernetes-validations": [
            {"rule": "self.on", "message": "turn it on", "fieldPath": ".on"},
            {"rule": "true", "message": "never"},
        ],
        "properties": {
            "inner": inner | {"description": "Said here, not there."},
            "silent": here,
            "some": {
                "type": "array",
                "items": here,
                "maxItems": 2,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "tags": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
            },
            "anything": {
                "type": "object",
                "maxProperties": 3,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            "labels": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string"}},
            "colour": {"type": "string", "enum": ["Red"], "default": "Red"},
            "only": {"type": "string", "enum": ["this"], "default": "this"},
            "on": {"type": "boolean"},
            "count": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9, "default": 3},
            "empty": {"type": "string"},
        },
    }


class CheckedKeys(ApiModel):
    things: dict[Annotated[str, StringConstraints(pattern="^a$")], str]


class Alternatives(ApiModel):
    either: int | str


class Exclusive(ApiModel):
    share: Annotated[float, Field(gt=0)]


@pytest.mark.parametrize("model", [CheckedKeys, Alternatives, Exclusive])
def test_what_a_schema_cannot_say_is_refused_with_the_place(model: type[ApiModel]) -> None:
    (field,) = model.model_fields
    with pytest.raises(TypeError, match=rf"{model.__name__}\.{field}: .* change the model"):
        structural_schema(model)
