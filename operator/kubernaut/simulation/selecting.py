"""Label and field selectors, evaluated as the API server does. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.errors import Invalid

_SET: Final = re.compile(r"^\s*(?P<key>\S+)\s+(?P<how>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_PART: Final = re.compile(r",(?![^()]*\))")


def selected(manifest: Mapping[str, Any], labels: str, fields: str) -> bool:
    """Whether an object fits both selectors; empty ones fit all."""
    given = manifest["metadata"].get("labels") or {}
    return all(_fits(given, part.strip()) for part in _PART.split(labels) if part.strip()) and all(
        _field(manifest, part.strip()) for part in fields.split(",") if part.strip()
    )


def matches(labels: Mapping[str, Any], selector: Mapping[str, Any] | None) -> bool:
    """Whether labels fit a LabelSelector; an absent one fits nothing, an empty one all."""
    if selector is None:
        return False
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return exact and all(expression(labels, one) for one in selector.get("matchExpressions") or ())


def expression(labels: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Whether labels fit one requirement of a selector, of labels or of nodes."""
    key, values, has = one["key"], one.get("values") or [], one["key"] in labels
    match one["operator"]:
        case "In":
            return has and labels[key] in values
        case "NotIn":
            return not has or labels[key] not in values
        case "Exists":
            return has
        case "DoesNotExist":
            return not has
        case "Gt" | "Lt" as how:
            try:
                found, limit = int(labels[key]), int(values[0])
            except (KeyError, ValueError, IndexError):
                return False
            return found > limit if how == "Gt" else found < limit
    return False


def _fits(labels: Mapping[str, Any], part: str) -> bool:
    if found := _SET.match(part):
        values = [one.strip() for one in found["values"].split(",")]
        how = "In" if found["how"] == "in" else "NotIn"
        return expression(labels, {"key": found["key"], "operator": how, "values": values})
    if "!=" in part:
        key, _, value = part.partition("!=")
        return bool(labels.get(key.strip()) != value.strip())
    if "=" in part:
        key, _, value = part.partition("=")
        return bool(labels.get(key.strip()) == value.lstrip("=").strip())
    return part[1:].strip() not in labels if part.startswith("!") else part in labels


def _field(manifest: Mapping[str, Any], part: str) -> bool:
    wanted = "!=" not in part
    path, _, value = part.partition("=" if wanted else "!=")
    if not path or value is None:
        raise Invalid(f"field selector {part!r} is not path=value", status=400)
    found: Any = manifest
    for name in path.strip().split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return (str(found if found is not None else "") == value.lstrip("=").strip()) is wanted
