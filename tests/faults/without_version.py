"""Run in an operator's process before it starts: its patches of Deployments carry no precondition.

Only to prove the fault harness.
"""

from __future__ import annotations

from typing import Any

from kubernaut.cluster import client
from kubernaut.cluster.account import AccountCluster
from kubernaut.cluster.call import Call
from kubernaut.core.ports import Manifest, ObjectRef

_fenced = AccountCluster._patch


async def _bare(
    self: AccountCluster, ref: ObjectRef, body: Manifest, resource_version: str, **more: Any
) -> Manifest:
    if ref.kind != "Deployment":
        return await _fenced(self, ref, body, resource_version, **more)
    call = await self._call(ref, "patch", body=body, **more)
    patched: Manifest = await self._json(call)
    return patched


def _trusting(call: Call) -> None:
    return None


# setattr, for mypy lets nobody set a method, or what a module has imported.
setattr(AccountCluster, "_patch", _bare)  # noqa: B010
setattr(client, "demand_precondition", _trusting)  # noqa: B010
