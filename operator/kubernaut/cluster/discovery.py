"""Kinds that are not in the table: asked of the API server once, as ourselves, and kept."""

from __future__ import annotations

from typing import Any, Protocol

from kubernaut.cluster.resources import WELL_KNOWN, Resource, group_path
from kubernaut.core.errors import NoSuchKind, NotFound


class _Reader(Protocol):
    async def read(self, path: str) -> Any: ...


class Discovery:
    """Finds the resource of a kind."""

    def __init__(self, connection: _Reader) -> None:
        self._connection = connection
        self._found: dict[tuple[str, str], Resource] = {}

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind.

        What was found is kept until it is not served any more; what was not is asked again each time, for it may be
        installed meanwhile.

        Raises:
            NoSuchKind: the cluster has no such kind; says so.
            ClusterError: the API server could not be asked.
        """
        key = (api_version, kind)
        known = WELL_KNOWN.get(key) or self._found.get(key)
        if known is not None:
            return known
        path = group_path(api_version)
        try:
            listed = await self._connection.read(path)
        except NotFound:
            message = f"the cluster has no API {api_version}, so no kind {kind}"
            raise NoSuchKind(f"{message}; check apiVersion, or install what defines it", status=404) from None
        entries = [entry for entry in listed.get("resources") or () if "/" not in entry["name"]]
        for entry in entries:
            found = Resource(api_version, entry["kind"], entry["name"], bool(entry["namespaced"]))
            self._found.setdefault((api_version, entry["kind"]), found)
        if key not in self._found:
            kinds = ", ".join(sorted({entry["kind"] for entry in entries}))
            raise NoSuchKind(f"API {api_version} has no kind {kind}; it has {kinds[:300]}", status=404)
        return self._found[key]

    def forget(self, resource: Resource) -> None:
        """Have a kind asked for again: where it was, nothing is served, so it may be elsewhere now."""
        self._found.pop((resource.api_version, resource.kind), None)
