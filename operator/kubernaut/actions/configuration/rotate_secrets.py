"""``rotate_secrets``: give keys of a Secret new random values, and have its users replaced."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, model_validator

from kubernaut.actions import pods, probing
from kubernaut.actions.configuration.random_values import MIN_BITS, Alphabet, bits, value
from kubernaut.actions.configuration.restore_configmap import Key
from kubernaut.actions.fencing import fence, images
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.actions.workloads.named import NamedWorkload
from kubernaut.actions.workloads.restart import restarted
from kubernaut.api.base import DnsName
from kubernaut.api.names import SIGNING_SECRET
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight

_SECRET: Final = ("v1", "Secret")
# Of other types the values have a form of their own, or somebody else gives them.
_TYPES: Final = frozenset({"Opaque", "kubernetes.io/basic-auth"})
_BY_NAME: Final = frozenset({"secretRef", "secretKeyRef", "secret"})


class RotateSecretsParameters(ActionParameters):
    """Parameters of ``rotate_secrets``."""

    name: Annotated[
        DnsName | None, Field(description="The Secret; by default the run's target, where that is one.")
    ] = None
    keys: Annotated[
        tuple[Key, ...],
        Field(min_length=1, max_length=16, description="The keys that get new values; each has to be there."),
    ]
    alphabet: Annotated[
        Alphabet,
        Field(
            description="Of what a value is made: letters and digits; lower-case hexadecimal digits; letters, "
            "digits, `-` and `_`; or also other signs than quotes, spaces and `$&/@\\`."
        ),
    ] = Alphabet.ALPHANUMERIC
    length: Annotated[
        int, Field(ge=1, le=512, description="How long a value is; it has to hold 80 bits at least.")
    ] = 32
    restart: Annotated[
        tuple[NamedWorkload, ...],
        Field(
            max_length=8,
            description="Workloads that use the Secret and whose pods are replaced once it is changed, in this "
            "order: `kind` (Deployment, StatefulSet or DaemonSet; Deployment by default) and `name`.",
        ),
    ] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        held = bits(self.alphabet, self.length)
        if held < MIN_BITS:
            raise ValueError(
                f"length {self.length} of {self.alphabet} holds {held:.0f} bits; make it longer, for at least "
                f"{MIN_BITS}"
            )
        for what, given in (("keys", self.keys), ("restart", self.restart)):
            if len(set(given)) != len(given):
                raise ValueError(f"{what} names one twice")
        if self.name == SIGNING_SECRET:
            raise ValueError(f"Secret {self.name} is Kubernaut's own")
        return self


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a rotation needs beside the Secret.

    Attributes:
        values: the new values by key, in base64.
        users: the workloads to restart, as read.
    """

    values: Mapping[str, str]
    users: Sequence[Manifest]


class RotateSecrets(MarkedAction[RotateSecretsParameters, Prepared]):
    """Gives keys of a Secret new random values, and replaces the pods of the workloads that use it.

    This changes what the cluster holds, and nothing else: it mends a leaked value where the Secret is what counts (a
    token between workloads, a key for sessions or signatures), or where a controller carries the new value on. A
    database that keeps the password itself would refuse its clients afterwards.

    Refused, before anything is changed: a Secret that is immutable, that a controller keeps (an ExternalSecret, a
    Certificate), or of a type other than `Opaque` and `kubernetes.io/basic-auth`; a key that is not there; a workload
    under `restart` that does not use the Secret, is paused, or has the update strategy `OnDelete`. The restarts are
    first sent as a dry run, so that a right that lacks is found before the Secret is changed.

    A new value is stored in the Secret and nowhere else. The patch that holds it holds the step's mark too, so a step
    that is done again finds its mark and makes no second value, and a patch whose answer was lost can't land later.
    Each workload carries a mark of its own: after a crash those that were not restarted yet are, and no other. The
    step is done when all of them carry it.

    The former values are kept in a Secret that belongs to the run and goes with it, for undo; of the new ones it
    holds a signature, by which undo sees whether anybody changed them since. No value is told anywhere.
    """

    name: ClassVar = "rotate_secrets"
    summary: ClassVar = "Give keys of a Secret new random values, and replace the pods that use it"
    workload: ClassVar = _SECRET
    parameters = RotateSecretsParameters
    example: ClassVar = {
        "name": "session-key",
        "keys": ["key"],
        "restart": [{"kind": "Deployment", "name": "api"}],
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "keys": "The keys that have new values.",
        "restarted": "The workloads whose pods are replaced.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: RotateSecretsParameters) -> ObjectRef:
        return named(namespace, target, *_SECRET, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: RotateSecretsParameters) -> tuple[Right, ...]:
        """Return patch on the Secret, get on it and on the before-image, and get and patch on the workloads."""
        own = rights(("patch",), *_SECRET, known_name(target, "Secret", parameters.name))
        users = [right for user in parameters.restart for right in user.rights("get", "patch")]
        return (*own, *images.RIGHTS, *users)

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: RotateSecretsParameters, seen: Manifest
    ) -> Prepared:
        """Make new values, and see that each workload could be restarted.

        Raises:
            StepError: PreconditionFailed, where one could not.
            ClusterError: as the API server answers to the dry run.
        """
        users = []
        for user in parameters.restart:
            ref = user.ref(context.namespace)
            there = await fence.read(cluster, context, ref)
            if not uses_secret(there["spec"]["template"], seen["metadata"]["name"]):
                raise _refused(
                    f"{ref} does not use {ObjectRef.of(seen)}; name the workloads that do under with.restart"
                )
            wanted = restarted(there, context).desired or there
            body, version = fields.merge_patch(there, wanted), there["metadata"]["resourceVersion"]
            await cluster.patch(ref, body, resource_version=version, dry_run=True)
            users.append(there)
        return Prepared(_new_values(parameters), users)

    def plan(
        self,
        seen: Manifest,
        evidence: Prepared,
        parameters: RotateSecretsParameters,
        context: StepContext,
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        data: Mapping[str, str] = seen.get("data") or {}
        _require_ours(seen)
        lacking = [key for key in parameters.keys if key not in data]
        if lacking:
            raise _refused(
                f"{ref} has no key {', '.join(lacking)}; it has: {', '.join(sorted(data)) or 'none'}"
            )
        paths = {key: fields.render(("data", key)) for key in parameters.keys}
        keys: list[JsonValue] = [*parameters.keys]
        again: list[JsonValue] = [f"{user['kind']} {user['metadata']['name']}" for user in evidence.users]
        return fence.Change(
            {**seen, "data": {**data, **evidence.values}},
            {paths[key]: data[key] for key in parameters.keys},
            {paths[key]: _sign(context, seen, key, evidence.values[key]) for key in parameters.keys},
            f"{ref}: new values of {', '.join(parameters.keys)}",
            {"keys": keys, "restarted": again},
            secret=True,
        )

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: RotateSecretsParameters
    ) -> Done:
        """Change the Secret once, then have each workload restarted once."""
        # The same for every try of the patch: each other value would leave another before-image behind.
        values = _new_values(parameters)

        async def rotate(seen: Manifest) -> fence.Change:
            evidence = await self.look(cluster, context, parameters, seen)
            return self.plan(seen, replace(evidence, values=values), parameters, context)

        async def restart(seen: Manifest) -> fence.Change:
            return restarted(seen, context)

        secret = self.ref(context.namespace, context.target, parameters)
        done = await fence.apply(cluster, context, secret, rotate, finished=self._finished)
        for user in parameters.restart:
            ref = user.ref(context.namespace)
            done = _and(done, await fence.apply(cluster, context, ref, restart, finished=self._finished))
        return done

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: RotateSecretsParameters
    ) -> Done | None:
        """Look for the step's mark on the Secret and on every workload; None where one lacks it."""
        done = await super().recall(cluster, context, parameters)
        for user in parameters.restart:
            one = await fence.recall(cluster, context, user.ref(context.namespace)) if done else None
            done = _and(done, one) if done and one else None
        return done

    async def fence(
        self, cluster: Cluster, context: StepContext, parameters: RotateSecretsParameters
    ) -> Done:
        """See to it that the step can't go on; the workloads follow the Secret, so they matter where it changed."""
        done = await super().fence(cluster, context, parameters)
        if not done.acted:
            return done
        for user in parameters.restart:
            ref = user.ref(context.namespace)
            one = await fence.fence_off(cluster, context, ref)
            done = (
                _and(done, one)
                if one.acted
                else replace(done, message=f"{done.message}; {ref} was not restarted")
            )
        return done

    def looks_at(self, context: StepContext, parameters: RotateSecretsParameters) -> tuple[Look, ...]:
        """Return the Secret, the workloads that were restarted, and the run's target."""
        return (*super().looks_at(context, parameters), *self.judged(context, parameters))

    def judged(self, context: StepContext, parameters: RotateSecretsParameters) -> tuple[ObjectRef, ...]:
        return tuple(user.ref(context.namespace) for user in parameters.restart)

    def probe(self, sight: Sight, context: StepContext, parameters: RotateSecretsParameters) -> Probed:
        """It happened where the Secret and each workload under `restart` carry the step's signed mark and were not
        put back. It helped where these workloads, and the run's target, fare well by their own status; whether a
        value was changed since is not looked at.
        """
        for ref in self.judged(context, parameters):
            found = probing.mark_on(sight, ref, context)
            if isinstance(found, Probed):
                return found
        return super().probe(sight, context, parameters)

    async def undo(self, cluster: Cluster, context: StepContext, parameters: RotateSecretsParameters) -> Done:
        """The former values are put back, and then the annotation that restarted each workload, which replaces its
        pods once more. Refused where a value was changed since; a workload that somebody else restarted since is left
        alone and told, for its pods still hold the values that are gone.
        """

        async def put_back(seen: Manifest, mark: StepMark) -> Manifest:
            return _put_back(context, seen, mark)

        ref = self.ref(context.namespace, context.target, parameters)
        done = await fence.restore(cluster, context, ref, put_back)
        trouble: StepError | None = None
        for user in parameters.restart if done.acted else ():
            try:
                one = await fence.restore(
                    cluster, context, user.ref(context.namespace), fence.put_fields_back
                )
                done = _and(done, one)
            except StepError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return done


def uses_secret(node: Any, name: str) -> bool:
    """Whether a pod template takes anything from a Secret, as environment variables or as files."""
    if isinstance(node, Mapping):
        return any(
            (
                key in _BY_NAME
                and isinstance(one, Mapping)
                and name in (one.get("name"), one.get("secretName"))
            )
            or uses_secret(one, name)
            for key, one in node.items()
        )
    return isinstance(node, list) and any(uses_secret(one, name) for one in node)


def _new_values(parameters: RotateSecretsParameters) -> dict[str, str]:
    made = {key: value(parameters.alphabet, parameters.length) for key in parameters.keys}
    return {key: base64.b64encode(text.encode()).decode() for key, text in made.items()}


def _sign(context: StepContext, secret: Manifest, key: str, text: str) -> str:
    uid = secret["metadata"].get("uid", "")
    return context.signer.sign(f"rotated\n{context.run_uid}\n{context.step}\n{uid}\n{key}\n{text}")


def _put_back(context: StepContext, seen: Manifest, mark: StepMark) -> Manifest:
    desired = seen
    for text, signature in mark.after.items():
        path = fields.parse(text)
        now = str(fields.get(seen, path) or "")
        if _sign(context, seen, str(path[-1]), now) != signature:
            raise StepError(
                f"{ObjectRef.of(seen)}: {text} is no longer as the step had set it; it was changed since and is left "
                "alone",
                reason=Reason.CHANGED_SINCE,
            )
        desired = fields.put(desired, path, mark.before[text])
    return desired


def _require_ours(seen: Manifest) -> None:
    """Refuse a Secret whose values are not free to choose.

    Raises:
        StepError: PreconditionFailed.
    """
    ref, kind = ObjectRef.of(seen), seen.get("type") or "Opaque"
    if ref.name == SIGNING_SECRET:
        raise _refused(f"{ref} is Kubernaut's own")
    if kind not in _TYPES:
        raise _refused(
            f"{ref} is of type {kind}, whose values can't be random; rotate it where it comes from"
        )
    if seen.get("immutable"):
        raise _refused(f"{ref} is immutable; make a new one, and let the workloads use that")
    owner = pods.controller_of(seen)
    if owner is not None:
        raise _refused(
            f"{ref} is kept by {owner['kind']} {owner['name']}, which would put its own values back; rotate it there"
        )


def _and(done: Done, one: Done) -> Done:
    """Return what was done to one object more."""
    return replace(done, changed=(*done.changed, *one.changed)[:16])


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
