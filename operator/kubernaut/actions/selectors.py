"""Label selectors: as queries, and whether they select. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    expressions = selector.get("matchExpressions") or ()
    plain = selector.get("matchLabels") or {}
    if not plain and not expressions:
        return False
    if any(labels.get(key) != value for key, value in plain.items()):
        return False
    for one in expressions:
        there, listed = one["key"] in labels, labels.get(one["key"]) in (one.get("values") or ())
        holds = {"In": listed, "NotIn": not listed, "Exists": there, "DoesNotExist": not there}
        if not holds[one["operator"]]:
            return False
    return True
