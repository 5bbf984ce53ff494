"""``taint_node``, ``untaint_node``: keep pods off a node that do not tolerate something, or let them come again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints, field_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.nodes.node import (
    KEEPS_AWAY,
    ClosingAction,
    ClosingParameters,
    NodeAction,
    NodeParameters,
    require_others,
)
from kubernaut.api.base import Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

_TAINTS: Final = fields.parse("spec.taints")
_KEY: Final = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_VALUE: Final = r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"
# Written and removed by controllers as they see fit: a hand on these hides what they tell, and is undone by them.
THEIRS: Final = re.compile(r"^([a-z0-9.-]+\.)?(kubernetes\.io|k8s\.io|karpenter\.sh)/|ClusterAutoscaler$")


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


Key = Annotated[
    str,
    StringConstraints(pattern=_KEY, max_length=316),
    Field(description="Key of the taint, as in `example.com/broken-disk`."),
]


def _own_key(key: str) -> str:
    if THEIRS.search(key):
        raise ValueError(
            f"{key} is a taint that Kubernetes or an autoscaler manages by itself; take a key of your own"
        )
    return key


class TaintNodeParameters(ClosingParameters):
    """Parameters of ``taint_node``."""

    key: Key
    value: Annotated[
        str, StringConstraints(pattern=_VALUE, max_length=63), Field(description="Value of the taint.")
    ] = ""
    effect: Annotated[
        Effect,
        Field(
            description="What becomes of pods that do not tolerate it: `NoSchedule` keeps new ones away, "
            "`PreferNoSchedule` tries to, `NoExecute` also evicts those that run."
        ),
    ] = Effect.NO_SCHEDULE
    overwrite: Annotated[
        Flag, Field(description="Replace the value of a taint of the same key and effect; else refuse.")
    ] = False

    _managed = field_validator("key")(_own_key)


class UntaintNodeParameters(NodeParameters):
    """Parameters of ``untaint_node``."""

    key: Key
    effect: Annotated[
        Effect | None, Field(description="Only the taint of this effect; by default all of the key.")
    ] = None

    _managed = field_validator("key")(_own_key)


class _TaintChange:
    """Putting back of taints: each by itself, whatever became of the others."""

    def changed_since(self, seen: Manifest, mark: StepMark) -> str | None:
        """Return a taint that is no longer as the step left it."""
        taints = taints_of(seen)
        for path, after in mark.after.items():
            if plain(find_taint(taints, *_identity(path))) != plain(after):
                return path
        return None

    async def put_back(self, cluster: Cluster, seen: Manifest, mark: StepMark) -> Manifest:
        """Return the node with each of the step's taints as it was before.

        Raises:
            StepError: ChangedSince, where one is no longer as the step left it.
        """
        taints = taints_of(seen)
        for path, after in mark.after.items():
            key, effect = _identity(path)
            now = find_taint(taints, key, effect)
            if plain(now) != plain(after):
                raise fence.changed_since(ObjectRef.of(seen), path, after, now)
            taints = _with(taints, key, effect, mark.before[path])
        return _put(seen, taints)


class TaintNode(_TaintChange, ClosingAction):
    """Adds a taint to the node, or with `overwrite` gives one of the same key and effect another value. All other
    taints stay: the list is sent as a whole with the version of the node that was read.

    `NoExecute` also has every pod evicted that does not tolerate the taint, at once and without regard to
    PodDisruptionBudgets; undo takes the taint away, but these pods do not come back. Where pods are to leave by their
    budgets, use `drain_node`.

    Refused where fewer than `minSchedulable` other nodes would be left that are ready and take new pods (not for
    `PreferNoSchedule`), and for keys under `kubernetes.io` and the like, which controllers write by themselves.
    Undo takes away, or gives back the former value of, this one taint.

    Nodes belong to no namespace: the Workflow's namespace needs the label `kubernaut.io/cluster-scoped: "true"`, and
    its account a ClusterRole.
    """

    name: ClassVar = "taint_node"
    summary: ClassVar = "Add a taint to a node, so that pods that do not tolerate it stay away"
    # NoExecute ends pods.
    risk: ClassVar = Risk.HIGH
    parameters = TaintNodeParameters
    example: ClassVar = {"key": "example.com/broken-disk", "effect": "NoSchedule"}

    def plan(
        self,
        seen: Manifest,
        evidence: Sequence[Manifest],
        parameters: TaintNodeParameters,
        context: StepContext,
    ) -> fence.Change:
        ref, taints = ObjectRef.of(seen), taints_of(seen)
        key, effect = parameters.key, parameters.effect.value
        value = {"value": parameters.value} if parameters.value else {}
        wanted: dict[str, Any] = {"key": key, "effect": effect, **value}
        there = find_taint(taints, key, effect)
        if there is not None and plain(there) == wanted:
            return fence.nothing(f"{ref} has the taint {taint_text(wanted)} already")
        if there is not None and not parameters.overwrite:
            raise StepError(
                f"{ref} has the taint {taint_text(there)}; set overwrite: true to give it another value",
                reason=Reason.PRECONDITION_FAILED,
            )
        if effect in KEEPS_AWAY:
            require_others(seen, evidence, parameters.min_schedulable)
        path = _path(key, effect)
        message = f"the node has the taint {taint_text(wanted)}"
        if effect == Effect.NO_EXECUTE:
            message += "; pods that do not tolerate it are evicted"
        desired = _put(seen, _with(taints, key, effect, wanted))
        return fence.Change(desired, {path: there}, {path: wanted}, message)


class UntaintNode(_TaintChange, NodeAction[None]):
    """Removes the taints of one key from the node, or only that of one `effect`. All other taints stay: the list is
    sent as a whole with the version of the node that was read. Refused for keys under `kubernetes.io` and the like,
    which controllers write by themselves: what they tell of the node has to be mended, not hidden.

    Undo puts exactly these taints back; one of the effect `NoExecute` then evicts the pods that came meanwhile.

    Nodes belong to no namespace: the Workflow's namespace needs the label `kubernaut.io/cluster-scoped: "true"`, and
    its account a ClusterRole.
    """

    name: ClassVar = "untaint_node"
    summary: ClassVar = "Remove a taint from a node, so that pods come to it again"
    parameters = UntaintNodeParameters
    example: ClassVar = {"key": "example.com/broken-disk"}

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: NodeParameters, seen: Manifest
    ) -> None:
        return None

    def plan(
        self, seen: Manifest, evidence: None, parameters: UntaintNodeParameters, context: StepContext
    ) -> fence.Change:
        taints = taints_of(seen)
        going = [
            taint
            for taint in taints
            if taint["key"] == parameters.key and parameters.effect in (None, taint["effect"])
        ]
        which = parameters.key + (f":{parameters.effect}" if parameters.effect else "")
        if not going:
            return fence.nothing(f"{ObjectRef.of(seen)} has no taint {which}")
        before = {_path(taint["key"], taint["effect"]): taint for taint in going}
        desired = _put(seen, [taint for taint in taints if taint not in going])
        return fence.Change(
            desired, before, dict.fromkeys(before), f"the node no longer has the taint {which}"
        )


def taints_of(node: Manifest) -> list[dict[str, Any]]:
    """Return the taints of a node."""
    return list(fields.get(node, _TAINTS) or ())


def find_taint(taints: Iterable[dict[str, Any]], key: str, effect: str) -> dict[str, Any] | None:
    """Return the taint of this key and effect, or None; there is one at most."""
    return next((one for one in taints if (one["key"], one["effect"]) == (key, effect)), None)


def _with(taints: Sequence[dict[str, Any]], key: str, effect: str, wanted: Any) -> list[dict[str, Any]]:
    """Return the taints with the one of this key and effect replaced, added, or (None) left out."""
    found = find_taint(taints, key, effect)
    if found is None:
        return [*taints, *([wanted] if wanted else ())]
    replaced = [wanted if one is found else one for one in taints]
    return [one for one in replaced if one]


def _put(node: Manifest, taints: Sequence[dict[str, Any]]) -> Manifest:
    changed: Manifest = fields.put(node, _TAINTS, list(taints) or None)
    return changed


def plain(taint: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a taint says, without the time at which it came."""
    return None if taint is None else {k: v for k, v in taint.items() if k != "timeAdded" and v}


def _path(key: str, effect: str) -> str:
    return f'spec.taints["{key}:{effect}"]'


def _identity(path: str) -> tuple[str, str]:
    last = fields.parse(path)[-1]
    assert isinstance(last, str)
    key, _, effect = last.rpartition(":")
    return key, effect


def taint_text(taint: Mapping[str, Any]) -> str:
    """Return a taint as people write it."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"
