"""Each change of a simulation as a dry run at the API server, which admits or refuses it and stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kubernaut.api.names import GROUP
from kubernaut.core.errors import ClusterError
from kubernaut.core.ports import Cluster, Manifest
from kubernaut.simulation.report import Result
from kubernaut.simulation.shadow import Mutation, Shadow
from kubernaut.simulation.state import Key


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said of one change; ``refusal`` is empty where it would take it."""

    step: str
    request: str
    refusal: str = ""
    unchecked: str = ""

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        told = {"refusal": self.refusal or None, "notChecked": self.unchecked or None}
        return {"step": self.step, "request": self.request, **told}


async def checked(result: Result, shadow: Shadow, account: Callable[[str], Cluster]) -> tuple[Answer, ...]:
    """Return what the API server says of each change, sent as the account that would; all with ``dryRun=All``.

    Each is checked against the cluster as it is: what an earlier change would have done is not there.
    """
    return tuple([await _checked(one, shadow, account(one.account)) for one in result.mutations])


async def _checked(mutation: Mutation, shadow: Shadow, account: Cluster) -> Answer:
    answer = Answer(mutation.step, f"{mutation.verb} {mutation.ref}")
    key = Key.of(mutation.ref)
    # What was written as it was before is as it was read.
    first = shadow.state.first[key] if key in shadow.state.first else shadow.state.objects.get(key)
    if first is None and mutation.verb != "create":
        return replace(answer, unchecked="the object exists in the simulation only")
    try:
        await _send(mutation, first, account)
    except ClusterError as error:
        return replace(answer, refusal=str(error))
    return answer


async def _send(mutation: Mutation, first: Manifest | None, account: Cluster) -> None:
    options, ref = dict(mutation.options), mutation.ref
    meta: Mapping[str, Any] = first["metadata"] if first is not None else {}
    # A second change of the same object rests on what only the simulation has.
    if options.get("resource_version"):
        options["resource_version"] = meta["resourceVersion"]
    body = _unmarked(mutation.body or {})
    match mutation.verb:
        case "create":
            await account.create(body, dry_run=True)
        case "patch":
            await account.patch(ref, body, dry_run=True, **options)
        case "apply":
            await account.apply(body, dry_run=True, **options)
        case "delete":
            await account.delete(ref, dry_run=True, **options)
        case "evict":
            await account.evict(ref, dry_run=True, **options)


def _unmarked(body: Manifest) -> Manifest:
    """Return a body without the marks of the simulation, which no operator signed, and without its run as owner."""
    meta = body.get("metadata")
    if not isinstance(meta, dict):
        return body
    given = {name: text for name, text in (meta.get("annotations") or {}).items() if GROUP not in name}
    owners = [one for one in meta.get("ownerReferences") or () if GROUP not in str(one.get("apiVersion"))]
    kept = {name: part for name, part in meta.items() if name not in ("annotations", "ownerReferences")}
    kept |= {"annotations": given} if given else {}
    kept |= {"ownerReferences": owners} if owners else {}
    return {**body, "metadata": kept}
