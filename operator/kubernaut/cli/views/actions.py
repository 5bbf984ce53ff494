"""The catalogue of actions."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from kubernaut.cli.text import cell, safe
from kubernaut.cli.views.words import fields, heading, table
from kubernaut.core.action import Action


def listing(actions: Iterable[tuple[Action[Any], str]]) -> Table:
    """Return one line an action; with each the rights it needs, in words."""
    made = table("NAME", "RISK", "RIGHTS", "SUMMARY", last_wraps=True)
    for action, rights in actions:
        made.add_row(cell(action.name), cell(action.risk.value), cell(rights), cell(action.summary))
    return made


def details(action: Action[Any], rights: str) -> RenderableType:
    """Return an action's documentation: what it does, its parameters, outputs and rights."""
    parts: list[RenderableType] = [
        fields(
            [
                ("Action", safe(action.name)),
                ("Summary", safe(action.summary)),
                ("Risk", safe(f"{action.risk.value}: {_RISKS.get(action.risk.value, '')}")),
                ("Happens once by", safe(_ONCE.get(action.idempotency.value, action.idempotency.value))),
                ("Rights", safe(rights)),
            ]
        )
    ]
    text = inspect.getdoc(type(action))
    if text and not text.startswith(f"{type(action).__name__}("):
        parts += [safe(""), safe(text)]
    schema = action.parameters.model_json_schema(by_alias=True)
    parts += [heading("Parameters (under `with`)"), parameters(schema)]
    if action.outputs:
        outputs = table("OUTPUT", "WHAT", last_wraps=True)
        for name, what in action.outputs.items():
            outputs.add_row(cell(name), cell(what))
        parts += [heading("Outputs (steps['NAME'].outputs)"), outputs]
    return Group(*parts)


def parameters(schema: Mapping[str, Any]) -> RenderableType:
    """Return the parameters of a JSON schema, one a line."""
    properties = schema.get("properties", {})
    if not properties:
        return safe("none")
    made = table("NAME", "TYPE", "DEFAULT", "WHAT", last_wraps=True)
    for name, one in properties.items():
        default = "required" if name in schema.get("required", ()) else _default(one)
        made.add_row(cell(name), cell(type_of(one, schema)), cell(default), cell(one.get("description", "")))
    return made


def type_of(one: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return a property's type in a few words, with its bounds."""
    if "$ref" in one:
        name = str(one["$ref"]).rsplit("/", 1)[-1]
        return type_of(root.get("$defs", {}).get(name, {}), root)
    if "enum" in one:
        return " | ".join(str(value) for value in one["enum"])
    if "anyOf" in one:
        kinds = [type_of(part, root) for part in one["anyOf"] if part.get("type") != "null"]
        return " | ".join(dict.fromkeys(kinds))
    kind = str(one.get("type", "any"))
    if kind == "array":
        return f"list of {type_of(one.get('items', {}), root)}"
    bounds = (("minimum", "≥ "), ("exclusiveMinimum", "> "), ("maximum", "≤ "), ("exclusiveMaximum", "< "))
    said = ", ".join(f"{sign}{one[name]:g}" for name, sign in bounds if name in one)
    return f"{kind} {said}" if said else kind


def _default(one: Mapping[str, Any]) -> str:
    default = one.get("default")
    return "" if default is None else str(default)


_RISKS = {
    "None": "changes nothing",
    "Low": "what it changes is put back by a rollback",
    "High": "it reaches far, or can't be put back; a breaker counts its bad ends",
}
_ONCE = {
    "ReadOnly": "it changes nothing",
    "Marked": "a signed marker in the same patch as the change",
    "Pinned": "the object's UID in the request, stored before",
    "Intent": "its intent, stored before; onUnknown says what follows where the outcome is not known",
}
