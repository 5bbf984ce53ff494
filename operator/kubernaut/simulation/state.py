"""The objects of a shadow: read once, changed only here, with the versions that the API server would give."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kubernaut.core.errors import AlreadyExists, Conflict, NotFound
from kubernaut.core.fields import same, without_nulls
from kubernaut.core.kinds import group_of
from kubernaut.core.ports import Manifest, ObjectRef

#: who changed an object where no step did
CONTROLLERS: Final = "controllers"
_FIRST: Final = 1_000_000_000_000
_SPACE: Final = uuid.UUID("6f0a0c5e-6f2b-4c55-9d0b-3f3a3f0d7a11")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An object's place: versions of one group hold the same objects."""

    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, ref: ObjectRef) -> Key:
        return cls(group_of(ref.api_version), ref.kind, ref.namespace, ref.name)

    @classmethod
    def at(cls, manifest: Mapping[str, Any]) -> Key:
        return cls.of(ObjectRef.of(manifest))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(slots=True)
class State:
    """What there is, what there was, and who changed it.

    Attributes:
        now: the time of the simulation.
        objects: what there is; None for an object that was looked for and does not exist.
        first: each object as it was before anything touched it; None where it did not exist.
        touched: who changed an object, first change first: steps, or CONTROLLERS.
        gone: the UIDs of objects that were removed.
        unread: kinds of which not all objects could be read, by group.
    """

    now: datetime
    objects: dict[Key, Manifest | None] = field(default_factory=dict)
    first: dict[Key, Manifest | None] = field(default_factory=dict)
    touched: dict[Key, dict[str, None]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unread: set[tuple[str, str]] = field(default_factory=set)
    _version: int = _FIRST
    _made: int = 0

    @property
    def stamp(self) -> str:
        """The time as the API server writes it into an object's metadata."""
        return self.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def take(self, manifest: Manifest) -> None:
        """Take up an object as it was read, unless it is known already."""
        self.objects.setdefault(Key.at(manifest), copy.deepcopy(manifest))

    def absent(self, key: Key) -> None:
        """Take note that an object does not exist."""
        self.objects.setdefault(key, None)

    def get(self, key: Key) -> Manifest:
        """Return an object, which is not to be changed in place. Raises NotFound."""
        found = self.objects.get(key)
        if found is None:
            raise NotFound(f"{key} does not exist", status=404)
        return found

    def all(self, group: str, kind: str, namespace: str = "") -> Iterator[Manifest]:
        """Yield the objects of a kind, of one namespace or of all, by name."""
        for key in sorted(key for key in self.objects if (key.group, key.kind) == (group, kind)):
            found = self.objects[key]
            if found is not None and namespace in ("", key.namespace):
                yield found

    def put(self, manifest: Mapping[str, Any], by: str) -> Manifest:
        """Store a changed object; one that is the same as before keeps its version, as at the API server."""
        key = Key.at(manifest)
        old = self.get(key)
        new: Manifest = without_nulls(copy.deepcopy(dict(manifest)))
        if same(old, new):
            return old
        declared = [{**one, "metadata": 0, "status": 0} for one in (old, new)]
        if not same(*declared):
            generation = old["metadata"].get("generation")
            if generation is not None:
                new["metadata"]["generation"] = generation + 1
        self._note(key, old, by)
        new["metadata"]["resourceVersion"] = self._next()
        self.objects[key] = new
        return new

    def add(self, manifest: Mapping[str, Any], by: str) -> Manifest:
        """Store a new object with what the API server gives it. Raises AlreadyExists."""
        key = Key.at({**manifest, "metadata": {"name": "", **manifest["metadata"]}})
        if self.objects.get(key) is not None:
            raise AlreadyExists(f"{key} exists already", status=409)
        new: Manifest = without_nulls(copy.deepcopy(dict(manifest)))
        self._made += 1
        new["metadata"] |= {
            "uid": str(uuid.uuid5(_SPACE, f"{self._made} {key}")),
            "resourceVersion": self._next(),
            "creationTimestamp": self.stamp,
            "generation": 1,
        }
        self._note(key, None, by)
        self.objects[key] = new
        return new

    def remove(self, key: Key, by: str) -> None:
        """Remove an object, or only mark it as being deleted where finalizers hold it."""
        old = self.get(key)
        self._note(key, old, by)
        if old["metadata"].get("finalizers"):
            gone = {**old["metadata"], "deletionTimestamp": self.stamp}
            self.objects[key] = {**old, "metadata": {**gone, "resourceVersion": self._next()}}
        else:
            self.objects[key] = None
            self.gone.add(str(old["metadata"].get("uid")))

    def demand(self, key: Key, *, uid: str = "", version: str = "") -> Manifest:
        """Return an object that has this UID and version, where they are given.

        Raises:
            NotFound: it does not exist. Conflict: it is another, or changed since.
        """
        found = self.get(key)
        if uid and found["metadata"].get("uid") != uid:
            raise Conflict(f"{key} has another UID: it was deleted and made anew", status=409)
        if version and found["metadata"].get("resourceVersion") != version:
            raise Conflict(f"{key} changed since it was read", status=409)
        return found

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _note(self, key: Key, old: Manifest | None, by: str) -> None:
        self.first.setdefault(key, old)
        self.touched.setdefault(key, {})[by] = None
