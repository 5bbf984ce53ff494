"""What PauseSync needs in this cluster: whatever a Workflow names is looked at, and whoever keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.core.errors import Forbidden, NotFound
from kubernaut.core.gitops.rights import changed, keepers, of_keeper
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.rights import PAUSING, Need, Needs

_KINDS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    (one.group, one.plural): key for key, one in WELL_KNOWN.items() if one.namespaced
}


class Reads(Protocol):
    """What reads objects."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


async def with_pauses(cluster: Reads, namespace: str, needs: Needs, argo_namespace: str) -> Needs:
    """Return what a Workflow needs, with what pausing takes of whoever keeps what it changes.

    It counts who keeps it now. What can't be told is among what is unclear.

    Raises:
        ClusterError: the cluster could not be asked.
    """
    refs, unnamed = changed(needs.needs, _KINDS, namespace)
    found: dict[Need, None] = {}
    unclear = [f"which of {what} it acts on, and who keeps those, shows only then" for what in unnamed]
    for ref in refs:
        try:
            manifest = await cluster.get(ref)
        except NotFound:
            unclear.append(f"there is no {ref} now, so who keeps it shows only then")
            continue
        except Forbidden:
            unclear.append(f"{ref} can't be read, so who keeps it shows only then")
            continue
        for owner in keepers(manifest, argo_namespace):
            assert owner.ref is not None
            said: Manifest | None = None
            try:
                said = await cluster.get(owner.ref)
            except NotFound:
                unclear.append(f"{owner.name} keeps {ref}, but is not in this cluster, so it can't be paused")
                continue
            except Forbidden:
                pass
            found |= dict.fromkeys(of_keeper(owner, said, ref))
    own = [need for need in found if need.namespace == namespace]
    return replace(
        needs,
        needs=(*needs.needs, *(replace(need, namespace="") for need in own)),
        elsewhere=tuple(need for need in found if need.namespace != namespace),
        unclear=(*(one for one in needs.unclear if one[0] != PAUSING), *((PAUSING, why) for why in unclear)),
    )
