"""Who wrote which field of an object, as the API server keeps it in ``metadata.managedFields``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubernaut.core.fields import Path, Select


@dataclass(frozen=True)
class Manager:
    """One writer of an object, and the fields that are its own.

    Attributes:
        operation: ``Apply`` (server-side apply) or ``Update`` (everything else).
        time: when it last changed the set of its fields, RFC 3339; empty where it is not told. A later write of other
            values to the same fields moves it too, one of the same values does not.
        subresource: ``status``, ``scale`` or empty.
        set: its fields as FieldsV1; what can't be read as that counts as no fields.
    """

    name: str
    operation: str
    time: str
    subresource: str
    set: Mapping[str, Any]

    @cached_property
    def fields(self) -> tuple[Path, ...]:
        """Its fields, in the order of the object's schema as the API server writes it.

        An element of a list is named by the first of its keys, an element of a set and a map by itself.
        """
        return tuple(_paths(self.set, ()))

    def owns(self, path: Path) -> bool:
        """Whether a field, anything in it, or something that it is part of as a whole, is this manager's."""
        return not _ends(self.set) and _reaches(self.set, path)

    def divides(self, path: Path) -> bool | None:
        """Whether it owns parts of what is at a path, and not the whole; None where it owns nothing there."""
        nodes: list[Mapping[str, Any]] = [self.set]
        for segment in path:
            nodes = [inner for node in nodes for inner in _below(node, segment)]
        return any(not _ends(node) for node in nodes) if nodes else None


def managers(manifest: Mapping[str, Any]) -> list[Manager]:
    """Return all writers of an object, newest first."""
    found = [
        Manager(
            str(entry.get("manager", "")),
            str(entry.get("operation", "")),
            str(entry.get("time", "")),
            str(entry.get("subresource", "")),
            entry.get("fieldsV1") or {},
        )
        for entry in manifest["metadata"].get("managedFields") or ()
    ]
    return sorted(found, key=lambda one: one.time, reverse=True)


def _ends(node: Mapping[str, Any]) -> bool:
    """Whether a set says nothing of parts: it is that of the whole."""
    return all(_segment(key) is None for key in node)


def _reaches(node: Mapping[str, Any], path: Path) -> bool:
    """Whether a set has a path, part of what is at it, or the whole that it is a part of."""
    if not path:
        return True
    below = list(_below(node, path[0]))
    return any(_reaches(one, path[1:]) for one in below) if below else _ends(node)


def _below(node: Mapping[str, Any], wanted: str | Select) -> Iterator[Mapping[str, Any]]:
    """Yield what is in the element of a set that is named so; more than one where names are the same."""
    for key, inner in node.items():
        if _segment(key) == wanted:
            yield inner if isinstance(inner, Mapping) else {}


def _paths(node: Mapping[str, Any], above: Path) -> Iterator[Path]:
    for key, inner in node.items():
        segment = _segment(key)
        if segment is None:
            continue
        path = (*above, segment)
        below = list(_paths(inner, path)) if isinstance(inner, Mapping) else []
        yield from below or [path]


def _segment(key: str) -> str | Select | None:
    """Return one step of a path; None for ``.``, which is the element itself, and for what is unknown."""
    kind, _, text = key.partition(":")
    if kind == "f":
        return text
    if kind not in ("k", "v", "i"):
        return None
    if kind == "i":
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    if isinstance(value, dict) and value:
        name, chosen = next(iter(value.items()))
        return Select(name, chosen if isinstance(chosen, str) else json.dumps(chosen))
    return value if isinstance(value, str) else json.dumps(value)
