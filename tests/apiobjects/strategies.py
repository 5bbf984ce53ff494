"""Hypothesis strategies for valid objects, made from the schema that the API server gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from kubernaut.api.base import TIME_PATTERN
from kubernaut.api.crd import Kind, crd_manifest
from kubernaut.api.duration import DAY_RULE, PATTERN
from kubernaut.api.execution import ALERT_TOLD
from kubernaut.api.names import API_VERSION
from kubernaut.api.steps import ALTERNATE_TOLD, KINDS_TOLD
from kubernaut.api.steps import KINDS as STEP_KINDS
from kubernaut.api.triggers import SAYS_SOMETHING
from kubernaut.api.workflow import EXPECTS_SOMETHING

Schema = dict[str, Any]
Strategy = st.SearchStrategy[Any]

_EPOCH = datetime(1970, 1, 1)
_TEXT = st.characters(exclude_categories=["Cs"])
_JSON: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(_TEXT, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(_TEXT, max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@cache
def schema_of(kind: Kind) -> Schema:
    """Return the schema that the API server gets."""
    schema: Schema = crd_manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def objects(kind: Kind) -> Strategy:
    """Return a strategy for whole valid objects, status included."""
    properties = schema_of(kind)["properties"]
    return st.builds(
        lambda spec, status: {
            "apiVersion": API_VERSION,
            "kind": kind.name,
            "metadata": {"name": "example", "namespace": "default"},
            "spec": spec,
            "status": status,
        },
        valid(properties["spec"]),
        valid(properties["status"]),
    )


def valid(schema: Schema) -> Strategy:
    """Return a strategy for what a schema takes, its CEL rules included."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _BY_TYPE[schema["type"]](schema)


def _string(schema: Schema) -> Strategy:
    longest = schema["maxLength"]
    pattern = schema.get("pattern")
    if pattern == TIME_PATTERN:
        return st.datetimes(min_value=_EPOCH).map(lambda time: time.isoformat() + "Z")
    if pattern == PATTERN:
        day = DAY_RULE.schema() in schema["x-kubernetes-validations"]
        return st.sampled_from(["0s", "1s", "1h30m", "250ms", "24h" if day else "8760h", "1m1m1m", "90s"])
    if pattern:
        return st.from_regex(pattern.removeprefix("^").removesuffix("$"), fullmatch=True).filter(
            lambda text: len(text) <= longest
        )
    return st.text(_TEXT, min_size=schema.get("minLength", 0), max_size=min(longest, 30))


def _array(schema: Schema) -> Strategy:
    return st.lists(
        valid(schema["items"]),
        min_size=schema.get("minItems", 0),
        max_size=min(schema["maxItems"], 3),
        unique_by=_identity(schema),
    )


def _identity(schema: Schema) -> Callable[[Any], Any] | None:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return str
        case "map":
            return itemgetter(*schema["x-kubernetes-list-map-keys"])
    return None


def _object(schema: Schema) -> Strategy:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text(_TEXT, max_size=8), _JSON, max_size=3)
    if "additionalProperties" in schema:
        values = valid(schema["additionalProperties"])
        return st.dictionaries(st.text(_TEXT, max_size=8), values, max_size=min(schema["maxProperties"], 3))
    required = set(schema.get("required", ()))
    fields = {name: valid(inner) for name, inner in schema["properties"].items()}
    strategy: Strategy = st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            strategy = _KEEPING[rule["message"]](strategy, fields)
    return strategy


def _one_of(*names: str) -> Callable[[Strategy, dict[str, Strategy]], Strategy]:
    @st.composite
    def keep_one(draw: st.DrawFn, strategy: Strategy, fields: dict[str, Strategy]) -> Any:
        value = draw(strategy)
        chosen = draw(st.sampled_from(names))
        rest = {name: inner for name, inner in value.items() if name not in names}
        return rest | {chosen: value[chosen] if chosen in value else draw(fields[chosen])}

    return keep_one


def _without(name: str, where: Callable[[Any], bool]) -> Callable[[Strategy, dict[str, Strategy]], Strategy]:
    def drop(value: Any) -> Any:
        return {key: inner for key, inner in value.items() if key != name} if where(value) else value

    return lambda strategy, fields: strategy.map(drop)


def _keep_alternate(strategy: Strategy, fields: dict[str, Strategy]) -> Strategy:
    @st.composite
    def keep(draw: st.DrawFn) -> Any:
        value = {key: inner for key, inner in draw(strategy).items() if key != "alternate"}
        wanted = value.get("onFailure") == "Alternate"
        return value | ({"alternate": draw(fields["alternate"])} if wanted else {})

    return keep()


def _keep_alert(strategy: Strategy, fields: dict[str, Strategy]) -> Strategy:
    @st.composite
    def keep(draw: st.DrawFn) -> Any:
        value = {key: inner for key, inner in draw(strategy).items() if key != "alert"}
        return value | ({"alert": draw(fields["alert"])} if value.get("type") == "Alert" else {})

    return keep()


def _say_something(value: Any) -> Any:
    said = value.get("matchLabels") or value.get("matchers")
    return value if said else value | {"matchLabels": {"alertname": "Broken"}}


def _expect_something(value: Any) -> Any:
    return value if value.get("expect") or value.get("metrics") else value | {"expect": ["true"]}


# How an object is made to keep a rule, by the rule's message; a rule without an entry here fails the tests.
_KEEPING: dict[str, Callable[[Strategy, dict[str, Strategy]], Strategy]] = {
    "set exactly one of duration and until": _one_of("duration", "until"),
    "object needs until": _without("object", lambda wait: "until" not in wait),
    "set exactly one of items, itemsFrom and select": _one_of("items", "itemsFrom", "select"),
    "cooldown is at least within": lambda strategy, fields: strategy.map(
        lambda storm: {key: value for key, value in storm.items() if key not in ("within", "cooldown")}
    ),
    KINDS_TOLD: _one_of(*STEP_KINDS),
    ALTERNATE_TOLD: _keep_alternate,
    "with needs an action": _without("with", lambda step: "action" not in step),
    "onUnknown needs an action": _without("onUnknown", lambda step: "action" not in step),
    SAYS_SOMETHING: lambda strategy, fields: strategy.map(_say_something),
    ALERT_TOLD: _keep_alert,
    EXPECTS_SOMETHING: lambda strategy, fields: strategy.map(_expect_something),
    "a required parameter has no default": _without("default", lambda one: bool(one.get("required"))),
}
_BY_TYPE: dict[str, Callable[[Schema], Strategy]] = {
    "string": _string,
    "integer": lambda schema: st.integers(schema["minimum"], schema["maximum"]),
    "number": lambda schema: st.floats(schema["minimum"], schema["maximum"]),
    "boolean": lambda schema: st.booleans(),
    "array": _array,
    "object": _object,
}
