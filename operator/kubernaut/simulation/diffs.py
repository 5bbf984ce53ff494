"""What became of the objects that a simulation touched, without what may be a secret. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.actions.guards import secretive_path, secretive_value
from kubernaut.api.names import GROUP
from kubernaut.core import fields
from kubernaut.core.ports import Manifest
from kubernaut.core.redacting import HIDDEN
from kubernaut.simulation.state import CONTROLLERS, Key, State

#: what the API server and this operator write for themselves
_OWN: Final = frozenset(
    {"resourceVersion", "generation", "managedFields", "uid", "creationTimestamp", "selfLink"}
)


@dataclass(frozen=True, slots=True)
class Field:
    """A field before and after, as JSON values; None means absent."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ObjectDiff:
    """What became of one object.

    Attributes:
        what: created, deleted or changed.
        by: the steps that changed it, or the controllers that reacted.
        anew: whether it is another object than before, under the same name.
    """

    object: Key
    what: str
    by: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    anew: bool = False

    @property
    def by_steps(self) -> bool:
        """Whether a step changed it, and not only a controller."""
        return any(one != CONTROLLERS for one in self.by)


def changes(state: State) -> tuple[ObjectDiff, ...]:
    """Return what became of each object that is not as it was, what steps changed first."""
    found = [one for key in state.touched if (one := _change(state, key)) is not None]
    return tuple(sorted(found, key=lambda one: not one.by_steps))


def _change(state: State, key: Key) -> ObjectDiff | None:
    first, now, by = state.first[key], state.objects.get(key), tuple(state.touched[key])
    if first is None and now is None:
        return None
    if first is None:
        return ObjectDiff(key, "created", by, tuple(_fields(key, {}, now or {})))
    if now is None:
        return ObjectDiff(key, "deleted", by)
    found = tuple(_fields(key, first, now))
    anew = first["metadata"].get("uid") != now["metadata"].get("uid")
    return ObjectDiff(key, "changed", by, found, anew) if found or anew else None


def _fields(key: Key, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Field]:
    for change in fields.diff(bare(before), bare(after)):
        hidden = (
            (key.kind == "Secret" and change.path[:1] in (("data",), ("stringData",)))
            or secretive_path(change.path)
            or secretive_value(change.before)
            or secretive_value(change.after)
        )
        values = [HIDDEN if hidden and one is not None else one for one in (change.before, change.after)]
        yield Field(fields.render(change.path), *values)


def bare(manifest: Mapping[str, Any]) -> Manifest:
    """Return an object without what the API server and this operator write for themselves."""
    if not manifest:
        return {}
    meta = {name: part for name, part in manifest["metadata"].items() if name not in _OWN}
    meta["annotations"] = {
        name: text for name, text in (meta.get("annotations") or {}).items() if GROUP not in name
    }
    rest = {name: part for name, part in manifest.items() if name not in ("metadata", "apiVersion", "kind")}
    return {"metadata": meta, **rest}
