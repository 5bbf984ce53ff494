"""What a model says to the API server beyond types and bounds: CEL rules and the types of lists."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class Rule:
    """An entry of ``x-kubernetes-validations``; the model that carries it checks the same in Python.

    Rules that mention ``oldSelf`` compare with the stored object, so only the API server can hold them.
    """

    rule: str
    message: str
    field_path: str | None = None

    def schema(self) -> dict[str, str]:
        """Return the entry as the CustomResourceDefinition has it."""
        entry = {"rule": self.rule, "message": self.message}
        return entry | ({"fieldPath": self.field_path} if self.field_path else {})


def _refuse_doubles(items: Sequence[Any], key: Callable[[Any], Hashable]) -> None:
    seen: set[Hashable] = set()
    for item in items:
        if key(item) in seen:
            raise ValueError(f"{key(item)!r} is given twice; each may be there once")
        seen.add(key(item))


class _ListType:
    def refuse_doubles(self, items: list[Any]) -> list[Any]:
        raise NotImplementedError

    def hints(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.refuse_doubles, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | self.hints()


@dataclass(frozen=True)
class ListMap(_ListType):
    """A list of objects that are told apart by some fields; two with the same keys are refused."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)

    def refuse_doubles(self, items: list[Any]) -> list[Any]:
        attributes = [to_snake(key) for key in self.keys]
        _refuse_doubles(items, lambda item: "/".join(str(getattr(item, name)) for name in attributes))
        return items

    def hints(self) -> dict[str, Any]:
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}


@dataclass(frozen=True)
class ListSet(_ListType):
    """A list of scalars without doubles."""

    def refuse_doubles(self, items: list[Any]) -> list[Any]:
        _refuse_doubles(items, lambda item: str(item))
        return items

    def hints(self) -> dict[str, Any]:
        return {"x-kubernetes-list-type": "set"}
