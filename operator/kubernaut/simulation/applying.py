"""Server-side apply as far as ``managedFields`` tell: conflicts, and the removal of what is left out. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kubernaut.core import fields
from kubernaut.core.errors import OwnedByOthers
from kubernaut.core.fields import Path, Select
from kubernaut.core.managed_fields import Manager, managers
from kubernaut.core.ports import Manifest

#: lists of Kubernetes itself whose elements have keys; protocols of ports are not told apart
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("containers", "initContainers", "ephemeralContainers", "env", "volumes"), ("name",)),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
}
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
    wanted = frozenset(_leaves(manifest, known)) - _NAMES
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


def _leaves(node: Any, known: Sequence[Manager], path: Path = ()) -> Iterator[Path]:
    """Yield the fields of a manifest; the elements of a list that has keys are fields of their own."""
    if isinstance(node, Mapping) and node:
        for key, inner in node.items():
            yield from _leaves(inner, known, (*path, key))
    elif isinstance(node, list) and node and (key := _key(node, known, path)):
        for one in node:
            value = one[key] if isinstance(one[key], str) else json.dumps(one[key])
            yield from _leaves(one, known, (*path, Select(key, value)))
    else:
        yield path


def _key(items: list[Any], known: Sequence[Manager], path: Path) -> str:
    """Return by which field the elements of a list are told apart; empty where the list is one value.

    How the owners of its fields have it counts; where there are none, how the kinds of Kubernetes itself have it.
    """
    divided = [one for one in (manager.divides(path) for manager in known) if one is not None]
    if divided and not any(divided):
        return ""
    names = _KEYS.get(str(path[-1]), ("name",) if divided else ())
    for name in names:
        values = [one.get(name) for one in items if isinstance(one, Mapping)]
        if (
            len(values) == len(items)
            and None not in values
            and len({str(one) for one in values}) == len(items)
        ):
            return name
    return ""


def _fields_v1(paths: frozenset[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for part in path:
            chosen = isinstance(part, Select)
            key = f"k:{json.dumps({part.key: part.value})}" if isinstance(part, Select) else f"f:{part}"
            node = node.setdefault(key, {".": {}} if chosen else {})
    return tree
