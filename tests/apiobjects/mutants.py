"""Every way in which one place of an object can be changed, with what has to come of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernaut.api.base import TIME_PATTERN
from kubernaut.api.duration import DAY_RULE
from kubernaut.api.duration import PATTERN as DURATION_PATTERN

Schema = dict[str, Any]
Path = tuple[str | int, ...]

_BAD_TIMES = (
    "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2026-01-31",
    "2026-01-31t00:00:00z",
    "2026-01-31T00:00:00",
    "2026-01-31T00:00:00+01:00",
    "2026-01-31T24:00:00Z",
    "2026-01-31T23:59:60Z",
    "2026-01-31T23:59:59,5Z",
    "0000-01-01T00:00:00Z",
)
_GOOD_TIMES = (
    "1000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2024-02-29T23:59:59.123456789Z",
    "1999-12-31T00:00:00.1Z",
)
_BAD_DURATIONS = (
    "",
    "1d",
    "1.5h",
    "-1s",
    "10",
    "1s ",
    "8760h1ms",
    "999999h999999h999999h999999h",
    "1s1s1s1s1s",
)
_GOOD_DURATIONS = ("0s", "8760h", "1m1h1ms", "999999ms")
_OTHER_TYPES: dict[str, tuple[Any, ...]] = {
    "string": (7, True, [], ["x"], {}),
    "integer": ("7", "", True, 1.5, [], {}),
    "number": ("0.5", True, [], {}),
    "boolean": ("true", "True", 1, 0, [], {}),
    "array": ("x", {}, 1),
    "object": ("x", [], 1, True),
}


@dataclass(frozen=True)
class Mutant:
    """An object with one change; ``valid`` says whether it has to be taken."""

    label: str
    object: dict[str, Any]
    valid: bool


@dataclass(frozen=True)
class _Change:
    what: str
    value: Any
    valid: bool = False


def mutants(schema: Schema, whole: dict[str, Any], section: str) -> Iterator[Mutant]:
    """Yield all mutants of a valid object below ``section`` (``spec`` or ``status``).

    A place with the schema, description included, and the value of an earlier one is the same model again, such as
    a step under ``finally``: nothing new is learned there.
    """
    known: set[str] = set()
    for path, node, value in walk(schema["properties"][section], whole[section], (section,)):
        place = json.dumps([node, value])
        if place in known:
            continue
        known.add(place)
        for change in _changes(node, value):
            where = ".".join(map(str, path))
            yield Mutant(f"{where}: {change.what}", _replaced(whole, path, change.value), change.valid)
        rules = " ".join(entry["rule"] for entry in node.get("x-kubernetes-validations", ()))
        for name in node.get("properties", {}):
            # What a rule says of a field is tried in crossfield.py.
            if name in value and f"self.{name}" not in rules:
                required = name in node.get("required", ())
                where = ".".join(map(str, (*path, name)))
                yield Mutant(f"{where}: null", _replaced(whole, (*path, name), None), not required)


def walk(schema: Schema, value: Any, path: Path = ()) -> Iterator[tuple[Path, Schema, Any]]:
    """Yield path, schema and value of each place of an object that its schema describes."""
    yield path, schema, value
    if schema["type"] == "array":
        for index, item in enumerate(value):
            yield from walk(schema["items"], item, (*path, index))
    for name, inner in schema.get("properties", {}).items():
        if name in value:
            yield from walk(inner, value[name], (*path, name))


def _replaced(whole: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(whole)
    place: Any = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


def _changes(schema: Schema, value: Any) -> Iterator[_Change]:
    for other in _OTHER_TYPES[schema["type"]]:
        yield _Change(f"{other!r} instead of {schema['type']}", other)
    match schema["type"]:
        case "string":
            yield from _string_changes(schema, value)
        case "integer" | "number":
            yield from _number_changes(schema)
        case "array":
            yield from _array_changes(schema, value)
        case "object":
            yield from _object_changes(schema, value)


def _string_changes(schema: Schema, value: str) -> Iterator[_Change]:
    if "enum" in schema:
        yield _Change("not in the enumeration", "Nope")
        yield _Change("other case", value.swapcase())
        return
    if schema.get("pattern") == TIME_PATTERN:
        yield from (_Change(f"time {text}", text) for text in _BAD_TIMES)
        yield from (_Change(f"time {text}", text, valid=True) for text in _GOOD_TIMES)
        return
    if schema.get("pattern") == DURATION_PATTERN:
        day = DAY_RULE.schema() in schema["x-kubernetes-validations"]
        bad: tuple[str, ...] = (*_BAD_DURATIONS, "24h1ms") if day else _BAD_DURATIONS
        good: tuple[str, ...] = _GOOD_DURATIONS
        if day:
            good = ("24h", *(text for text in good if text != "8760h"))
        yield from (_Change(f"duration {text}", text) for text in bad)
        yield from (_Change(f"duration {text}", text, valid=True) for text in good)
        return
    yield _Change("too long", "a" * (schema["maxLength"] + 1))
    if "pattern" in schema:
        for text in (f"{value}\n", f"\n{value}", f"{value} ", f"{value}/\u00fc", "\u0663"):
            yield _Change(f"bad pattern {text!r}", text)
    else:
        yield _Change("as long as may be", "\U0001f600" * schema["maxLength"], valid=True)
    if schema.get("minLength"):
        yield _Change("empty", "")


def _number_changes(schema: Schema) -> Iterator[_Change]:
    low, high = schema["minimum"], schema["maximum"]
    yield _Change("too small", low - 1)
    yield _Change("too large", high + 1)
    yield _Change("as small as may be", low, valid=True)
    yield _Change("as large as may be", high, valid=True)
    yield _Change("a whole number with a point", float(low), valid=True)


def _array_changes(schema: Schema, value: list[Any]) -> Iterator[_Change]:
    yield _Change("a null in it", [*value, None])
    if not value:
        return
    if "enum" in schema["items"]:
        yield _Change("all there are", list(schema["items"]["enum"]), valid=True)
        yield _Change("none", [], valid=not schema.get("minItems"))
        yield _Change("doubled", [*value, value[-1]])
        return
    many = [_another(schema, value[0], n) for n in range(schema["maxItems"] + 1)]
    yield _Change("too many", many)
    yield _Change("as many as may be", many[1:], valid=True)
    yield _Change("none", [], valid=not schema.get("minItems"))
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        yield _Change("doubled", [*value, copy.deepcopy(value[-1])])
    keys = schema.get("x-kubernetes-list-map-keys", ())
    for key in keys if len(keys) > 1 else ():
        item = value[-1] | {key: _other_key([entry[key] for entry in value])}
        yield _Change(f"the last again with another {key}", [*value, item], valid=True)


def _other_key(taken: list[Any]) -> Any:
    choices: list[Any] = [0, 1, 2, 3] if isinstance(taken[0], int) else ["a0", "a1", "a2", "a3"]
    return next(choice for choice in choices if choice not in taken)


def _another(schema: Schema, item: Any, number: int) -> Any:
    name = f"a{number}"
    if isinstance(item, str):
        return name
    keys = schema.get("x-kubernetes-list-map-keys")
    return item | {keys[0]: name} if keys else item


def _object_changes(schema: Schema, value: dict[str, Any]) -> Iterator[_Change]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        most = schema["maxProperties"]
        yield _Change("too many keys", {f"key{n}": n for n in range(most + 1)})
        yield _Change("as many keys as may be", {f"key{n}": n for n in range(most)}, valid=True)
        yield _Change("any key, any value", {"A b/c": [None, {"d": None}], "": 1}, valid=True)
        return
    if "additionalProperties" in schema:
        most = schema["maxProperties"]
        yield _Change("too many keys", {f"key{n}": "" for n in range(most + 1)})
        yield _Change("as many keys as may be", {f"key{n}": "" for n in range(most)}, valid=True)
        yield _Change("a number in it", {"key": 1})
        return
    yield _Change("unknown field", value | {"unknown": 1})
    for name in schema["properties"]:
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        if snake != name and name in value:
            renamed = {snake if key == name else key: inner for key, inner in value.items()}
            yield _Change(f"{snake} instead of {name}", renamed)
    for name in schema.get("required", ()):
        yield _Change(f"without {name}", {key: inner for key, inner in value.items() if key != name})
