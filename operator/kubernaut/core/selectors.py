"""Label selectors: as queries, and whether they select. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: what a label may have as value, if any, and as the name in its key; to be matched in full
LABEL: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """Write a LabelSelector as the query of a list request; an absent one is empty and selects everything."""
    selector = selector or {}
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        match one["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def selected_on(selector: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels that an object has to have for a LabelSelector to select it."""
    needed = (one for one in selector.get("matchExpressions") or () if one["operator"] in ("In", "Exists"))
    return (*(selector.get("matchLabels") or {}), *(one["key"] for one in needed))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects an object with these labels; an empty one selects nothing here."""
    said = selector.get("matchLabels") or selector.get("matchExpressions")
    return bool(said) and matches(selector, labels)


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    """Whether labels fit a LabelSelector; an absent one fits nothing, an empty one all."""
    if selector is None:
        return False
    plain = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in plain.items()) and all(
        meets(one, labels) for one in selector.get("matchExpressions") or ()
    )


def meets(requirement: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether labels, or fields by their paths, meet one requirement of a selector, of labels or of nodes."""
    key: str = requirement["key"]
    wanted: Sequence[Any] = requirement.get("values") or ()
    there = key in values
    match requirement["operator"]:
        case "In":
            return there and values[key] in wanted
        case "NotIn":
            return not there or values[key] not in wanted
        case "Exists":
            return there
        case "DoesNotExist":
            return not there
        case "Gt" | "Lt" as how:
            try:
                found, limit = int(values[key]), int(wanted[0])
            except (KeyError, ValueError, IndexError):
                return False
            return found > limit if how == "Gt" else found < limit
    return False
