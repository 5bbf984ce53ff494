"""Structural OpenAPI schemas, as the API server wants them, from pydantic models.

Pydantic writes JSON Schema 2020-12; Kubernetes reads a subset of OpenAPI 3.0 without ``$ref``, without
alternatives for null, and with hints of its own. What can't be said in it is refused here rather than dropped,
so that model and API server never differ in silence.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from kubernaut.api.base import ApiModel
from kubernaut.api.duration import format_duration

_DEFINITIONS: Final = "#/$defs/"
_KEPT: Final = frozenset(
    {
        "default", "description", "enum", "format", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "required", "type",
        "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    }
)  # fmt: skip
_RANKS: Final = {"description": 0, "type": 1, "default": 2, "properties": 4, "items": 4}


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema in the form a CustomResourceDefinition takes.

    Raises:
        TypeError: the model says something that a structural schema can't.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    definitions = schema.pop("$defs", {})
    return _structural(schema, definitions, model.__name__)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator without titles and nulls, and with defaults as they are written in YAML."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # The API server drops a null where none is allowed, and so does ApiModel: null means unset.
        return self.generate_inner(schema["schema"])

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return super().int_schema(schema) | {"format": "int64"}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write defaults that are scalars and say something: ``""``, ``false`` and ``0`` are left unset."""
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if isinstance(default, timedelta):
            return inner | {"default": format_duration(default)} if default else inner
        if isinstance(default, Enum):
            return inner | {"default": default.value}
        if isinstance(default, str | int | float) and default:
            return inner | {"default": default}
        return inner

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        result = super().model_schema(schema)
        model = schema["cls"]
        if not issubclass(model, ApiModel):
            return result
        for name, text in attribute_docstrings(model).items():
            alias = model.model_fields[name].alias or name
            result["properties"][alias]["description"] = text
        if model.cel_rules:
            result["x-kubernetes-validations"] = [rule.schema() for rule in model.cel_rules]
        return result


def attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the string literals that stand below a model's fields: field name to text.

    Read from the source when schemas are generated; pydantic's own switch for this would do it at every import.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and field.target.id in model.model_fields
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            texts[field.target.id] = inspect.cleandoc(below.value.value)
    return texts


def _anything(schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether a schema takes any JSON; pydantic writes that as true, {} or a reference to an empty schema."""
    if isinstance(schema, Mapping) and "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix(_DEFINITIONS)]
    return schema is True or schema == {}


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    if "$ref" in node:
        named = definitions[node["$ref"].removeprefix(_DEFINITIONS)]
        node = named | {key: value for key, value in node.items() if key != "$ref"}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "title" or (key == "additionalProperties" and value is False):
            continue
        if key == "description":
            result[key] = value.replace("``", "`")
        elif key == "const":
            result["enum"] = [value]
        elif key == "properties":
            result[key] = {
                name: _structural(inner, definitions, f"{path}.{name}") for name, inner in value.items()
            }
        elif key == "additionalProperties" and _anything(value, definitions):
            result["x-kubernetes-preserve-unknown-fields"] = True
        elif key in ("items", "additionalProperties"):
            result[key] = _structural(value, definitions, f"{path}.{key}")
        elif key in _KEPT:
            result[key] = value
        else:
            raise TypeError(f"{path}: {key!r} has no place in a structural schema; change the model")
    if "type" not in result:
        raise TypeError(f"{path}: a structural schema needs a type here; change the model")
    return dict(sorted(result.items(), key=lambda entry: (_RANKS.get(entry[0], 3), entry[0])))
