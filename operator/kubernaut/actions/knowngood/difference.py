"""What differs between an object as it is and as it was known to be good: by field, and by whom. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.actions.knowngood import declaration
from kubernaut.core import fields
from kubernaut.core.managed_fields import Manager, managers
from kubernaut.core.ports import Manifest

_BY_KEY: Final = frozenset({("metadata", "labels"), ("metadata", "annotations"), ("data",), ("binaryData",)})
# What an autoscaler says of a workload, it says by this subresource, through this manager.
_AUTOSCALER: Final = ("kube-controller-manager", "scale")
_CONTROLLERS: Final = frozenset({"kube-controller-manager"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as it was known to be good.

    Attributes:
        known: its value when the object was known to be good; None where it was absent.
        live: its value now; None where it is absent.
        by: who wrote it last, as ``managedFields`` tell; empty where they don't, as of a field that was removed.
        at: when they last wrote, RFC 3339.
        left: why it is left alone; empty where it is to be restored.
    """

    path: fields.Path
    known: Any
    live: Any
    by: str = ""
    at: str = ""
    left: str = ""

    @property
    def text(self) -> str:
        """The path as people write it."""
        return fields.render(self.path)


def differences(known: Mapping[str, Any], seen: Manifest, leave: Collection[str] = ()) -> list[Difference]:
    """Return every field of an object that is not as it was known to be good.

    Args:
        known: the declaration that is remembered.
        leave: managers whose fields are left alone.
    """
    writers = managers(seen)
    return [
        _told(path, before, now, writers, leave)
        for path, before, now in _walk(known, declaration.declared(seen), ())
    ]


def restored(seen: Manifest, found: Sequence[Difference], known: Mapping[str, Any]) -> Manifest:
    """Return the object with these fields as they were; an element of a list comes back where it was in it."""
    desired = seen
    for one in found:
        last = one.path[-1]
        if isinstance(last, fields.Select) and one.live is None:
            above = one.path[:-1]
            names = [item["name"] for item in fields.get(known, above)]
            items = _inserted(fields.get(desired, above) or [], one.known, names)
            desired = fields.put(desired, above, items)
        else:
            desired = fields.put(desired, one.path, one.known)
    return desired


def _walk(known: Any, live: Any, path: fields.Path) -> Iterator[tuple[fields.Path, Any, Any]]:
    if path in _BY_KEY:
        known, live = known or {}, live or {}
    if isinstance(known, Mapping) and isinstance(live, Mapping) and declaration.HIDDEN not in (known, live):
        for key in sorted(known.keys() | live.keys()):
            yield from _walk(known.get(key), live.get(key), (*path, key))
        return
    before, now = _by_name(known), _by_name(live)
    if before is not None and now is not None and _one_order(list(before), list(now)):
        for name in dict.fromkeys((*before, *now)):
            yield from _walk(before.get(name), now.get(name), (*path, fields.Select("name", name)))
    elif not fields.same(known, live):
        yield path, known, live


def _by_name(items: Any) -> dict[str, Any] | None:
    """Return a list of maps by their names, an empty one as one of none; None where it is no such list."""
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return None
    names = [item.get("name") for item in items]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return {str(name): item for name, item in zip(names, items, strict=True)}


def _one_order(before: Sequence[str], now: Sequence[str]) -> bool:
    """Whether what is in both lists stands in the same order: one that moved may change what another means."""
    return [one for one in before if one in now] == [one for one in now if one in before]


def _inserted(items: Sequence[Any], element: Any, names: Sequence[str]) -> list[Any]:
    """Return a list with an element after those that stood before it."""
    earlier = set(names[: names.index(element["name"])])
    at = max((at for at, item in enumerate(items, start=1) if item.get("name") in earlier), default=0)
    return [*items[:at], element, *items[at:]]


def _told(
    path: fields.Path, known: Any, live: Any, writers: Sequence[Manager], leave: Collection[str]
) -> Difference:
    owner = next((one for one in writers if one.subresource != "status" and one.owns(path)), None)
    if owner is None or live is None:
        by, at = "", ""
    else:
        by, at = owner.name, owner.time
    return Difference(path, known, live, by, at, _left(known, live, owner, leave))


def _left(known: Any, live: Any, owner: Manager | None, leave: Collection[str]) -> str:
    """Return why a field is left alone, or nothing."""
    if declaration.hides(known) or declaration.hides(live):
        return "it may hold a secret, and such values are not remembered"
    if owner is None:
        return ""
    if (owner.name, owner.subresource) == _AUTOSCALER:
        return "an autoscaler writes it"
    if owner.name in _CONTROLLERS:
        return f"a controller writes it ({owner.name})"
    return f"{owner.name} is among leaveManagers" if owner.name in leave else ""
