"""``restore_configmap``: put back what a ConfigMap held."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import guards
from kubernaut.actions.fencing import fence, images
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import MAX_BEFORE_IMAGE
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_CONFIG_MAP: Final = ("v1", "ConfigMap")
_FIELDS: Final = ("data", "binaryData")
MAX_KEYS: Final = 64
Key = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Text = Annotated[str, StringConstraints(max_length=64 * 1024)]


class RestoreConfigMapParameters(ActionParameters):
    """Parameters of ``restore_configmap``: exactly one of ``from`` and ``values``."""

    name: Annotated[
        DnsName | None, Field(description="The ConfigMap; by default the run's target, where that is one.")
    ] = None
    from_: Annotated[
        DnsName | None,
        Field(
            alias="from", description="The ConfigMap of the run's namespace that holds the known good copy."
        ),
    ] = None
    keys: Annotated[
        tuple[Key, ...],
        Field(
            max_length=MAX_KEYS,
            description="With `from`: only these keys. By default all: a key that the copy lacks is removed.",
        ),
    ] = ()
    values: Annotated[
        dict[Key, Text],
        Field(max_length=MAX_KEYS, description="Keys and their texts; other keys stay as they are."),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.from_ is None) == (not self.values):
            raise ValueError("set exactly one of from and values")
        if self.keys and self.from_ is None:
            raise ValueError("keys needs from")
        if self.from_ is not None and self.from_ == self.name:
            raise ValueError(f"from is {self.from_}, the ConfigMap itself; name another that holds the copy")
        refusal = guards.object_refusal(*_CONFIG_MAP, self.name) if self.name is not None else None
        if refusal is not None:
            raise ValueError(refusal)
        return self


class RestoreConfigMap(MarkedAction[RestoreConfigMapParameters, Manifest | None]):
    """Gives a ConfigMap the data of a copy that somebody keeps beside it (`from`), or single keys the texts given
    (`values`). From a copy, `data` and `binaryData` are taken as a whole, or those `keys` alone; the copy itself is
    never changed. Only the keys that differ are written, and each is recorded by itself, so that undo leaves alone
    what others changed elsewhere.

    Refused where the ConfigMap is immutable, where the copy holds nothing or lacks one of the `keys`, and for
    Kubernaut's own switch.

    What it changed is remembered for putting it back: up to 2 KiB on the object itself; more, or where a key or a
    text says that there may be a secret (`password`, `token`), in a Secret that belongs to the run. For that the
    account needs `create` and `get` on secrets, and the values are told nowhere.

    Pods that mount the ConfigMap see the change after a while, those that take it as environment variables when they
    are made anew: let `restart_deployment` or its like follow where that is needed.
    """

    name: ClassVar = "restore_configmap"
    summary: ClassVar = "Put back a ConfigMap's data from a kept copy, or single keys"
    # All who use it get what was, whatever else has changed meanwhile.
    risk: ClassVar = Risk.HIGH
    workload: ClassVar = _CONFIG_MAP
    parameters = RestoreConfigMapParameters
    example: ClassVar = {"name": "settings", "from": "settings-good"}
    outputs: ClassVar[Mapping[str, str]] = {
        "keys": "The keys that were changed; at most 64 of them are told."
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: RestoreConfigMapParameters) -> ObjectRef:
        return named(namespace, target, *_CONFIG_MAP, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: RestoreConfigMapParameters) -> tuple[Right, ...]:
        """Return get and patch on the ConfigMap, get on the copy, and what keeping the before-image may need."""
        own = rights(("get", "patch"), *_CONFIG_MAP, known_name(target, "ConfigMap", parameters.name))
        if parameters.from_ is not None:
            # How much differs, and what it is, is not known before.
            return (*own, *rights(("get",), *_CONFIG_MAP, (parameters.from_,)), *images.RIGHTS)
        large = len(json.dumps(parameters.values)) > MAX_BEFORE_IMAGE
        return (*own, *images.RIGHTS) if large or _speaks_of_secrets(parameters.values) else own

    async def look(
        self,
        cluster: Cluster,
        context: StepContext,
        parameters: RestoreConfigMapParameters,
        seen: Manifest,
    ) -> Manifest | None:
        if parameters.from_ is None:
            return None
        return await cluster.get(ObjectRef(*_CONFIG_MAP, context.namespace, parameters.from_))

    def plan(
        self,
        seen: Manifest,
        evidence: Manifest | None,
        parameters: RestoreConfigMapParameters,
        context: StepContext,
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        refusal = guards.object_refusal(ref.api_version, ref.kind, ref.name)
        if refusal is not None:
            raise _refused(refusal)
        if evidence is not None:
            desired = _as_copy(seen, evidence, parameters.keys)
        else:
            desired = _with_values(seen, parameters.values)
        keys = _changed_keys(seen, desired)
        told: list[JsonValue] = [*keys[:MAX_KEYS]]
        outputs: dict[str, JsonValue] = {"keys": told}
        source = str(ObjectRef.of(evidence)) if evidence is not None else "the step's values"
        if not keys:
            return fence.nothing(f"{ref} is as {source} already", outputs)
        if seen.get("immutable"):
            raise _refused(f"{ref} is immutable; delete it and make it anew, with the pods that use it")
        change = fence.change(seen, desired, f"{ref}: {len(keys)} keys are as {source} again", outputs)
        return replace(change, secret=_secretive(change))


def _as_copy(seen: Manifest, copy: Manifest, keys: tuple[str, ...]) -> Manifest:
    """Return the ConfigMap with the data of its copy.

    Raises:
        StepError: PreconditionFailed, where the copy is empty, lacks a key, or is the ConfigMap itself.
    """
    ref = ObjectRef.of(copy)
    if ref.name == seen["metadata"]["name"]:
        raise _refused(f"{ref} is the ConfigMap itself; name another under with.from that holds the copy")
    if not any(copy.get(field) for field in _FIELDS):
        raise _refused(f"{ref} holds nothing; it can't be a good copy")
    lacking = [key for key in keys if not any(key in (copy.get(field) or {}) for field in _FIELDS)]
    if lacking:
        raise _refused(f"{ref} has no key {', '.join(lacking)}; name keys that it has")
    desired = seen
    for field in _FIELDS:
        there = copy.get(field) or {}
        if keys:
            kept = {key: text for key, text in (seen.get(field) or {}).items() if key not in keys}
            there = {**kept, **{key: there[key] for key in keys if key in there}}
        desired = fields.put(desired, (field,), there or None)
    return desired


def _with_values(seen: Manifest, values: Mapping[str, str]) -> Manifest:
    binary = {key: text for key, text in (seen.get("binaryData") or {}).items() if key not in values}
    desired: dict[str, Any] = {**seen, "data": {**(seen.get("data") or {}), **values}}
    whole: Manifest = fields.put(desired, ("binaryData",), binary or None)
    return whole


def _changed_keys(seen: Manifest, desired: Manifest) -> list[str]:
    pairs = [(seen.get(field) or {}, desired.get(field) or {}) for field in _FIELDS]
    return sorted(
        {key for old, new in pairs for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    )


def _secretive(change: fence.Change) -> bool:
    return _speaks_of_secrets(change.before) or _speaks_of_secrets(change.after)


def _speaks_of_secrets(node: Any) -> bool:
    """Whether a key or a text says that there may be a secret; a file's text may hold many settings."""
    if isinstance(node, Mapping):
        return any(guards.secretive_text(key) or _speaks_of_secrets(one) for key, one in node.items())
    return isinstance(node, str) and guards.secretive_text(node)


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
