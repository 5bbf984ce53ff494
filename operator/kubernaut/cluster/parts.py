"""Parts of ``core.ports.Cluster``, for what needs no more than them."""

from __future__ import annotations

from typing import Protocol

from kubernaut.core.ports import Manifest, ObjectRef


class Reads(Protocol):
    """Reads single objects."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


class Keeps(Reads, Protocol):
    """Reads, creates and patches single objects."""

    async def create(self, manifest: Manifest) -> Manifest: ...

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest: ...
