"""Server-side apply as far as actions can tell: fields and their managers, conflicts, removal of what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubernaut.core import fields
from kubernaut.core.errors import OwnedByOthers
from kubernaut.core.fields import Path, Select
from kubernaut.core.ports import Manifest

Owners = Mapping[str, frozenset[Path]]
_NAMES = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})


def leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the fields of a manifest; the elements of a list of named maps are fields of their own."""
    if isinstance(node, Mapping) and node:
        for key, inner in node.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(node, list) and node and all(isinstance(one, Mapping) and "name" in one for one in node):
        for one in node:
            yield from leaves(one, (*path, Select("name", one["name"])))
    else:
        yield path


def applied(
    seen: Manifest, owners: Owners, manifest: Manifest, manager: str, *, force: bool
) -> tuple[Manifest, Owners]:
    """Return the object after an apply, and who owns what then.

    Raises:
        OwnedByOthers: another manager owns a field that would get another value.
    """
    wanted = frozenset(leaves(manifest)) - _NAMES
    new = seen
    taken = {path for path in wanted if not fields.same(fields.get(seen, path), fields.get(manifest, path))}
    others = {name: owned for name, owned in owners.items() if name != manager}
    robbed = frozenset(name for name, owned in others.items() if owned & taken)
    if robbed and not force:
        told = ", ".join(sorted(fields.render(path) for name in robbed for path in others[name] & taken))
        raise OwnedByOthers(f"conflicts with {', '.join(sorted(robbed))}: {told}", managers=robbed)
    for path in sorted(wanted, key=str):
        new = fields.put(new, path, fields.get(manifest, path))
    for path in owners.get(manager, frozenset()) - wanted:
        if not any(path in owned for owned in others.values()):
            new = fields.put(new, path, None)
    entries = [one for one in new["metadata"].get("managedFields", ()) if one["manager"] != manager]
    entries.append({"manager": manager, "operation": "Apply"})
    new = fields.put(new, ("metadata", "managedFields"), entries)
    return new, {**{name: owned - taken for name, owned in others.items()}, manager: wanted}
