"""Server-side apply as far as ``managedFields`` tell: conflicts, and the removal of what is left out. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubernaut.core import fields
from kubernaut.core.errors import OwnedByOthers
from kubernaut.core.fields import Path, Select
from kubernaut.core.managed_fields import managers
from kubernaut.core.ports import Manifest

_NAMES: Final = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})


def base64_of(text: str) -> str:
    """Return a text as a Secret holds it."""
    return base64.b64encode(text.encode()).decode()


def applied(seen: Manifest, manifest: Manifest, manager: str, *, force: bool, stamp: str) -> Manifest:
    """Return an object after an apply.

    Raises:
        OwnedByOthers: another manager owns a field that would get another value.
    """
    known = managers(seen)
    wanted = frozenset(_leaves(manifest)) - _NAMES
    taken = {path for path in wanted if not fields.same(fields.get(seen, path), fields.get(manifest, path))}
    others = [one for one in known if (one.name, one.operation) != (manager, "Apply")]
    robbed = {one.name: path for one in others for path in sorted(taken, key=str) if one.owns(path)}
    if robbed and not force:
        told = ", ".join(f"{fields.render(path)} ({name})" for name, path in sorted(robbed.items()))
        raise OwnedByOthers(f"others own what would change: {told}", managers=frozenset(robbed))
    new = seen
    for path in sorted(wanted, key=str):
        new = fields.put(new, path, fields.get(manifest, path))
    for own in (one for one in known if (one.name, one.operation) == (manager, "Apply")):
        for path in own.fields:
            left = path in _NAMES or any(
                path[: len(one)] == one or one[: len(path)] == path for one in wanted
            )
            if not left and not any(one.owns(path) for one in others):
                new = fields.put(new, path, None)
    entries = [
        one
        for one in new["metadata"].get("managedFields", ())
        if (one.get("manager"), one.get("operation")) != (manager, "Apply")
    ]
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": manifest["apiVersion"],
        "time": stamp,
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields_v1(wanted),
    }
    result: Manifest = fields.put(new, ("metadata", "managedFields"), [*entries, entry])
    return result


def _leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the fields of a manifest; the elements of a list of named maps are fields of their own."""
    if isinstance(node, Mapping) and node:
        for key, inner in node.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(node, list) and node and all(isinstance(one, Mapping) and "name" in one for one in node):
        for one in node:
            yield from _leaves(one, (*path, Select("name", one["name"])))
    else:
        yield path


def _fields_v1(paths: frozenset[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for part in path:
            chosen = isinstance(part, Select)
            key = f"k:{json.dumps({part.key: part.value})}" if isinstance(part, Select) else f"f:{part}"
            node = node.setdefault(key, {".": {}} if chosen else {})
    return tree
