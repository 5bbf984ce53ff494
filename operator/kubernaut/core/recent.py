"""Objects as a run has just read or written them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from kubernaut.core.ports import Manifest, ObjectRef

#: what a run remembers; one that acts on more objects in turn gains nothing from remembering all of them
MOST: Final = 8


@dataclass(slots=True)
class Recent:
    """What a run need not read again: its resourceVersion tells whether anybody changed the object since.

    Objects go by kind, namespace and name; whether the UID is the one that is meant is for the reader to see.
    """

    _objects: dict[ObjectRef, Manifest] = field(default_factory=dict)
    #: objects that somebody else wrote right after this run did, as their controllers do
    _raced: set[ObjectRef] = field(default_factory=set)
    #: objects as they were when they were taken
    _taken: dict[ObjectRef, Manifest] = field(default_factory=dict)

    def put(self, ref: ObjectRef, manifest: Manifest) -> None:
        """Remember an object as it was read, or as the answer to a write told it."""
        self._objects[_by_name(ref)] = manifest
        if len(self._objects) > MOST:
            del self._objects[next(iter(self._objects))]

    def take(self, ref: ObjectRef) -> Manifest | None:
        """Return an object and forget it: once it is acted on, it is another."""
        found = self._objects.pop(_by_name(ref), None)
        if found is not None:
            self._taken[_by_name(ref)] = found
            if len(self._taken) > MOST:
                del self._taken[next(iter(self._taken))]
        return found

    def seen(self, ref: ObjectRef) -> Manifest | None:
        """Return an object as it was last taken; its resourceVersion tells whether that is what is meant."""
        return self._taken.get(_by_name(ref))

    def lost(self, ref: ObjectRef) -> None:
        """Note that somebody else wrote an object first."""
        self._raced.add(_by_name(ref))

    def won(self, ref: ObjectRef) -> None:
        """Note that nobody is to be awaited for an object."""
        self._raced.discard(_by_name(ref))

    def races(self, ref: ObjectRef) -> bool:
        """Whether somebody else wrote this object first, when it was last written by this run."""
        return _by_name(ref) in self._raced

    def clear(self) -> None:
        """Forget all objects."""
        self._objects.clear()
        self._taken.clear()
        self._raced.clear()


def _by_name(ref: ObjectRef) -> ObjectRef:
    return replace(ref, uid="")
