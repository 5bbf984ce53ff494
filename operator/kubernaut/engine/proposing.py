"""A change that is proposed instead of made: as a manifest to put into Git, and told to a webhook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml
from yarl import URL

from kubernaut.actions import guards
from kubernaut.api.reasons import Reason
from kubernaut.cluster.breaker import Breaker
from kubernaut.core import fields
from kubernaut.core.errors import EffectFailed, StepError, Unavailable
from kubernaut.core.fields import FieldChange
from kubernaut.core.gitops.owners import Owner
from kubernaut.core.ports import HttpRequest, Manifest, ObjectRef, Web
from kubernaut.engine.live import LiveRun
from kubernaut.metrics import PROPOSALS

#: of one manifest; a run's outputs share 96 KiB
MOST: Final = 32 * 1024
TIMEOUT: Final = 5.0
_ANSWERED: Final = range(200, 300)


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
        try:
            self.breaker.admit()
        except Unavailable as error:
            PROPOSALS.labels("unsent").inc()
            return f"the webhook was not told: {error}"
        try:
            answer = await self.web.send(self._request(live, step, proposed))
        except StepError as error:
            self.breaker.failed()
            PROPOSALS.labels("unsent").inc()
            return f"the webhook was not told: {str(error).replace(self.url, 'its address')}"
        if answer.status not in _ANSWERED:
            self.breaker.failed()
            PROPOSALS.labels("refused").inc()
            return f"the webhook answered {answer.status}"
        self.breaker.succeeded()
        PROPOSALS.labels("sent").inc()
        return "the webhook was told"

    def _request(self, live: LiveRun, step: str, proposed: Proposed) -> HttpRequest:
        ref, owner = proposed.ref, proposed.owner
        body = {
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
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{live.uid}/{step}"}
        return HttpRequest("POST", self.url, headers, json.dumps(body).encode(), timeout=TIMEOUT, most=1024)


def host_of(url: str) -> str:
    """Return where a URL leads, as an entry of allowed hosts: it alone is allowed to the one who sends there."""
    found = URL(url)
    host = f"[{found.host}]" if ":" in (found.host or "") else found.host
    return f"{host}:{found.port}"
