"""Label and field selectors as requests have them, evaluated as the API server does. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.errors import Invalid
from kubernaut.core.selectors import meets

_SET: Final = re.compile(r"^\s*(?P<key>\S+)\s+(?P<how>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_PART: Final = re.compile(r",(?![^()]*\))")


def selected(manifest: Mapping[str, Any], labels: str, fields: str) -> bool:
    """Whether an object fits both selectors; empty ones fit all."""
    given = manifest["metadata"].get("labels") or {}
    return all(_fits(given, part.strip()) for part in _PART.split(labels) if part.strip()) and all(
        _field(manifest, part.strip()) for part in fields.split(",") if part.strip()
    )


def _fits(labels: Mapping[str, Any], part: str) -> bool:
    if found := _SET.match(part):
        values = [one.strip() for one in found["values"].split(",")]
        how = "In" if found["how"] == "in" else "NotIn"
        return meets({"key": found["key"], "operator": how, "values": values}, labels)
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
