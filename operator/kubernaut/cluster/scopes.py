"""The resources behind the kinds that a Workflow names, as this cluster has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from kubernaut.cluster.resources import WELL_KNOWN, Resource
from kubernaut.core.errors import NotFound
from kubernaut.core.kinds import resource_of

_WIDE: Final = frozenset((one.group, one.plural) for one in WELL_KNOWN.values() if not one.namespaced)


class Discovers(Protocol):
    """What finds the resource of a kind."""

    async def resource(self, api_version: str, kind: str) -> Resource: ...


@dataclass(frozen=True, slots=True)
class Scopes:
    """Resource names that differ from the guessed ones, and which resources belong to no namespace."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    more_wide: frozenset[tuple[str, str]] = frozenset()

    def wide(self, group: str, resource: str) -> bool:
        """Whether the objects of a resource are in no namespace."""
        return (group, resource) in _WIDE or (group, resource) in self.more_wide


async def find_scopes(cluster: Discovers, kinds: Iterable[tuple[str, str]]) -> Scopes:
    """Ask the cluster for what is not in the table of well-known kinds; what it does not have is left as guessed.

    Raises:
        ClusterError: it could not be asked.
    """
    names: dict[tuple[str, str], str] = {}
    wide: set[tuple[str, str]] = set()
    for api_version, kind in sorted(kinds):
        try:
            found = await cluster.resource(api_version, kind)
        except NotFound:
            continue
        names[found.group, resource_of(kind)] = found.plural
        if not found.namespaced:
            wide.add((found.group, found.plural))
    return Scopes(names, frozenset(wide))
