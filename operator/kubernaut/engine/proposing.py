"""A change that is proposed instead of made: as a manifest to put into Git, and told to a webhook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml

from kubernaut.actions import guards
from kubernaut.api.reasons import Reason
from kubernaut.cluster.breaker import Breaker
from kubernaut.core import fields
from kubernaut.core.errors import EffectFailed
from kubernaut.core.fields import FieldChange
from kubernaut.core.gitops.owners import Owner
from kubernaut.core.ports import Manifest, ObjectRef, Web
from kubernaut.engine.live import LiveRun
from kubernaut.engine.posting import Became, Poster
from kubernaut.metrics import PROPOSALS

#: of one manifest; a run's outputs share 96 KiB
MOST: Final = 32 * 1024


class Proposed(EffectFailed):
    """A step did not make its change, and proposes it."""

    def __init__(self, message: str, ref: ObjectRef, owner: Owner, manifest: str) -> None:
        outputs = {"proposal": manifest, "owner": owner.name, "object": str(ref)}
        super().__init__(message, reason=Reason.PROPOSED, outputs=outputs)
        self.ref = ref
        self.owner = owner
        self.manifest = manifest


def proposal(seen: Mapping[str, Any], changes: Sequence[FieldChange]) -> str:
    """Return the changed fields of an object as a manifest that server-side apply takes; a delete has none.

    Values that are or may be secret are not told, and what is removed can only be said: both stand as comments.
    """
    meta = seen["metadata"]
    manifest: Manifest = {
        "apiVersion": seen["apiVersion"],
        "kind": seen["kind"],
        "metadata": {key: meta[key] for key in ("name", "namespace") if meta.get(key)},
    }
    if not changes:
        return f"# Proposed: remove this object from Git.\n{yaml.safe_dump(manifest, sort_keys=False)}"
    remarks: list[str] = []
    for change in changes:
        told = fields.render(change.path)
        if _secret(seen, change):
            remarks.append(f"# {told}: changes too; its value is or may be secret, and is not told")
        elif change.after is None:
            remarks.append(f"# {told}: remove it")
        else:
            manifest = fields.put(manifest, change.path, fields.without_nulls(change.after))
    text = "".join(f"{line}\n" for line in remarks) + yaml.safe_dump(manifest, sort_keys=False)
    if len(text.encode()) > MOST:
        names = "".join(f"# {fields.render(change.path)}\n" for change in changes[:64])
        return f"# The manifest takes {len(text.encode())} bytes, more than is kept. What changes:\n{names}"
    return text


def _secret(seen: Mapping[str, Any], change: FieldChange) -> bool:
    if seen.get("kind") == "Secret":
        return True
    values = (change.before, change.after)
    return guards.secretive_path(change.path) or any(map(guards.secretive_value, values))


class Tells(Protocol):
    """What is told of proposals."""

    async def tell(self, live: LiveRun, step: str, proposed: Proposed) -> str:
        """Tell of one; return what became of that in a few words, or nothing. Never raises."""
        ...


class Nobody:
    """There is nobody to tell."""

    async def tell(self, live: LiveRun, step: str, proposed: Proposed) -> str:
        return ""


@dataclass(slots=True)
class Webhook:
    """Tells by POST; one that comes twice, after a crash, has the same ``Idempotency-Key``.

    It is one place for all namespaces, named by the operator's settings: no Workflow decides where it goes.
    """

    url: str
    web: Web
    breaker: Breaker

    async def tell(self, live: LiveRun, step: str, proposed: Proposed) -> str:
        """Send it, once; who reads the run finds the proposal there whatever becomes of this."""
        poster = Poster(lambda _: self.web, self.breaker)
        told = await poster.post(self.url, f"{live.uid}/{step}", self._body(live, step, proposed))
        PROPOSALS.labels(told.became.value).inc()
        if told.became is Became.SENT:
            return "the webhook was told"
        return f"the webhook was not told: {told.why}"

    def _body(self, live: LiveRun, step: str, proposed: Proposed) -> dict[str, Any]:
        ref, owner = proposed.ref, proposed.owner
        return {
            "type": "kubernaut.io/proposal",
            "run": {"namespace": live.key.namespace, "name": live.key.name, "uid": live.uid, "step": step},
            "workflow": live.execution.spec.workflow_ref.name,
            "object": {
                "apiVersion": ref.api_version,
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
            },
            "owner": {"tool": owner.tool.value, "name": owner.name},
            "fields": [fields.render(path) for path in owner.fields],
            "manifest": proposed.manifest,
        }
