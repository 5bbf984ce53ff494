"""Reading and writing ``DiscoveredPattern`` objects."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.patterns.objects import ClusterPatterns

STATUS = {"support": 3, "version": 2}


class Stored:
    """One object, as a later version wrote it."""

    def __init__(self, status: dict[str, Any]) -> None:
        meta = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
        self.manifest: Manifest = {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "DiscoveredPattern",
            "metadata": meta,
            "spec": {"muted": True, "mood": "hopeful"},
            "status": status,
        }

    async def list(self, api_version: str, kind: str, namespace: str) -> list[Manifest]:
        return [self.manifest]

    async def create(self, manifest: Manifest) -> Manifest:
        return self.manifest

    async def patch_status(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        return self.manifest


@pytest.mark.parametrize(
    ("status", "support"),
    [
        ({**STATUS, "mood": "hopeful"}, 3),
        ({**STATUS, "support": "some"}, None),
        ({**STATUS, "version": 0}, None),
    ],
)
async def test_what_a_later_version_wrote_does_not_end_the_analysis(
    status: dict[str, Any], support: int | None
) -> None:
    (found,) = await ClusterPatterns(Stored(status), "ns").list()
    assert found.spec.muted
    assert (found.status.support if found.status else None) == support
