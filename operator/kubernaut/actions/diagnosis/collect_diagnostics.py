"""``collect_diagnostics``: what ails a workload, told in at most 4 KiB, and all that was read kept in the history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import pods
from kubernaut.actions.diagnosis import bundle, redaction, symptoms
from kubernaut.actions.diagnosis.symptoms import Sample
from kubernaut.actions.objects import group_of, resource_of, rights
from kubernaut.actions.pods import ContainerView
from kubernaut.actions.probing import NothingToSee
from kubernaut.api.base import Flag
from kubernaut.core import fields, managed_fields, redacting
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import ClusterError, Forbidden
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

MAX_DIGEST: Final = 4096
MAX_LOG_TAIL: Final = 2048
_MAX_EVENTS: Final = 5
_MAX_CHANGES: Final = 5
_MAX_CHANGE: Final = 240
_MAX_FIELDS: Final = 4
_LABELS: Final = ("metadata", "labels")
_NO_LOG_YET: Final = frozenset({"ContainerCreating", "PodInitializing", "ErrImagePull", "ImagePullBackOff"})


class CollectDiagnosticsParameters(ActionParameters):
    """Parameters of ``collect_diagnostics``."""

    logs: Annotated[
        Flag, Field(description="Read the end of the worst container's log; needs the right to read logs.")
    ] = True
    events: Annotated[
        Flag,
        Field(description="Read warnings about the target and its pods; needs the right to list events."),
    ] = True
    keep: Annotated[
        Flag,
        Field(
            description="Keep all that was read in the history, with whole logs (of `logs`), encrypted; nothing "
            "changes for the run where that can't be."
        ),
    ] = True
    tail_lines: Annotated[int, Field(ge=1, le=500, description="How many lines of the log to read.")] = 20


class CollectDiagnostics(NothingToSee):
    """Reads the run's target, its pods, warnings about them, and the end of the worst container's log (of its run
    before the current one, where it was restarted), and tells in few words what ails it. Nothing is changed.

    The words in `symptoms` are Kubernetes' own (`CrashLoopBackOff`, `OOMKilled`, `ImagePullBackOff`,
    `ProgressDeadlineExceeded`, `Unschedulable`, `FailedMount`, `CreateContainerConfigError`, `Evicted`, ...) and
    Kubernaut's: `ExitCodeN`, `ScaledToZero`, `Paused`, `ReadinessFailing`, `LivenessFailing`, `Unavailable`.

    `changes` tells who wrote the target's declared fields, as the API server keeps it: a writer's time is that of its
    latest change to any of them, and values are not kept.

    All outputs together take at most 4 KiB, the end of the log at most 2 KiB of it; what is longer is cut at its
    beginning. The outputs stand in the status of the run, for everyone who may read it.

    With `keep` all that was read is kept beside that, and read with `kubernaut diagnostics RUN`: the objects, their
    warnings and owners, who wrote which of their fields when, and the logs of all containers of the five worst pods
    with those of their runs before (at most 256 KiB each), at most 4 MiB altogether. It is compressed, encrypted,
    and put on the operator's disk before the step is done, and goes to Postgres from there: the run never waits for
    Postgres, a step that is repeated after a crash replaces it, and it goes when the history drops the run. That
    needs a history and a key (`KUBERNAUT_DSN`, `KUBERNAUT_ENCRYPTION_KEYS`); without them, where the disk is full,
    and in a dry run, `bundle` says why nothing is kept, and the step succeeds all the same. Whoever deletes the
    operator's disk before Postgres was back loses it.

    Hidden in what is told and kept: values of environment variables, data of Secrets, settings that speak of secrets,
    and in logs what looks like one (`password=...`, tokens, keys, credentials in URLs) or equals such a variable. A
    secret that a log tells in words of its own can't be known for one: where that may be, set `logs: false`.
    A missing right on logs or events fails the step, naming the verb; `logs: false` and `events: false` do without.
    """

    name: ClassVar = "collect_diagnostics"
    summary: ClassVar = "Read states, warnings and logs of the target, and tell what ails it; change nothing"
    risk: ClassVar = Risk.NONE
    idempotency: ClassVar = Idempotency.READ_ONLY
    parameters = CollectDiagnosticsParameters
    outputs: ClassVar[Mapping[str, str]] = {
        "symptoms": "What ails the target, in single words: sorted, each once, at most 16.",
        "restarts": "How often the containers of all its pods were restarted.",
        "pods": "How many pods it has, without those that are being deleted or have done their work.",
        "ready": "How many of them are ready.",
        "desired": "How many pods it wants.",
        "summary": "One sentence for people.",
        "owners": "The chain from the worst pod up to its owners, such as ReplicaSet/api-7d9 and Deployment/api.",
        "rollout": "Of a target that rolls out: observed generation, updated and available pods.",
        "changes": "Who wrote the target's fields, newest first, at most 5: when, and which are that writer's.",
        "warnings": "The newest warnings, at most 5.",
        "logOf": "Whose log it is: pod/container, of its run before the current one if so; or why there is none.",
        "logTail": "The end of that log.",
        "bundle": "How many bytes are kept in the history, or why none are.",
    }

    def rights(self, target: ObjectRef | None, parameters: CollectDiagnosticsParameters) -> tuple[Right, ...]:
        """Return get on the target, list on pods, and what logs and events need."""
        found = list(rights(("list",), "v1", "Pod", ()))
        if target is not None:
            group, resource = group_of(target.api_version), resource_of(target.kind)
            found.insert(0, Right("get", group, resource, (target.name,)))
        if parameters.events:
            found.append(Right("list", "", "events"))
        if parameters.logs:
            found.append(Right("get", "", "pods/log"))
        return tuple(found)

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: CollectDiagnosticsParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: there is nothing to pin."""
        return None

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: CollectDiagnosticsParameters
    ) -> Done:
        """Read and digest."""
        target = await cluster.get(context.target)
        staying = pods.worst_first(await _pods(cluster, target))
        events = await _warnings(cluster, target, staying) if parameters.events else []
        sample = Sample(target, staying, events, context.now)
        outputs = digest(sample)
        if parameters.logs and staying:
            outputs.update(await _log(cluster, staying[0], parameters.tail_lines))
        if parameters.keep:
            outputs["bundle"] = await _keep(cluster, context, sample, logs=parameters.logs)
        return Done(False, str(outputs["summary"]), bounded(outputs))

    async def undo(
        self, cluster: Cluster, context: StepContext, parameters: CollectDiagnosticsParameters
    ) -> Done:
        """Nothing was changed, so there is nothing to put back."""
        return Done(False, "nothing was changed")


async def _keep(cluster: Cluster, context: StepContext, sample: Sample, *, logs: bool) -> str:
    """Keep all there is to see; say in a few words what became of it."""
    why_not = context.keeper.refusal()
    if not why_not:
        content = await bundle.collect(cluster, sample, logs=logs)
        why_not = await context.keeper.keep(context.run_uid, context.step, context.now, content)
        if not why_not:
            return f"{len(content)} bytes are kept"
    return f"not kept: {why_not}"[:300]


def digest(sample: Sample) -> dict[str, JsonValue]:
    """Return the outputs, but for the log."""
    found = symptoms.symptoms(sample)
    there, ready, desired = len(sample.pods), symptoms.ready(sample), symptoms.desired(sample)
    restarts = sum(map(pods.restarts, sample.pods))
    told = ", ".join(found) or "no symptom"
    times = "once" if restarts == 1 else f"{restarts} times"
    outputs: dict[str, JsonValue] = {
        "symptoms": list(found),
        "restarts": restarts,
        "pods": there,
        "ready": ready,
        "desired": desired,
        "summary": f"{ObjectRef.of(sample.target)}: {told}; {ready} of {desired} pods ready, restarted {times}",
        "owners": list(_owners(sample)),
    }
    if rollout := _rollout(sample.target):
        outputs["rollout"] = rollout
    if changes := _changes(sample.target):
        outputs["changes"] = changes
    if sample.events:
        outputs["warnings"] = [_event(event) for event in sample.events[:_MAX_EVENTS]]
    return outputs


def bounded(outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Cut outputs to 4 KiB of JSON: the log at its beginning first, then warnings, then what else can be spared."""
    kept = dict(outputs)
    if isinstance(tail := kept.get("logTail"), str):
        others = _size({**kept, "logTail": ""})
        kept["logTail"] = _tail(tail, min(MAX_LOG_TAIL, max(0, MAX_DIGEST - others)))
    for spare in ("warnings", "changes", "logTail", "logOf", "owners", "rollout", "bundle"):
        if _size(kept) > MAX_DIGEST:
            kept.pop(spare, None)
    return kept


def _size(outputs: Mapping[str, JsonValue]) -> int:
    return len(json.dumps(dict(outputs)).encode())


def _tail(text: str, room: int) -> str:
    """Return the end of a text that takes at most ``room`` bytes as JSON, from a whole line where there is one."""
    start, taken = len(text), 0
    while start > 0:
        taken += len(json.dumps(text[start - 1])) - 2
        if taken > room:
            break
        start -= 1
    cut = text[start:]
    head, newline, rest = cut.partition("\n")
    return rest if start > 0 and newline and len(head) < len(cut) // 2 else cut


async def _pods(cluster: Cluster, target: Manifest) -> Sequence[Manifest]:
    if target["kind"] == "Pod":
        return [target]
    selector = pods.selector_of(target)
    if selector is None:
        return []
    return await cluster.list("v1", "Pod", target["metadata"]["namespace"], label_selector=selector)


async def _warnings(cluster: Cluster, target: Manifest, staying: Sequence[Manifest]) -> list[Manifest]:
    """Return warnings about the target, its pods and what stands between them, newest first."""
    events = await cluster.list("v1", "Event", target["metadata"]["namespace"], field_selector="type!=Normal")
    about = {target["metadata"]["uid"], *(pod["metadata"]["uid"] for pod in staying)}
    about.update(owner["uid"] for pod in staying if (owner := pods.controller_of(pod)))
    mine = [event for event in events if (event.get("involvedObject") or {}).get("uid") in about]
    return sorted(mine, key=_when, reverse=True)


def _when(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(time) for time in times if time), str(event["metadata"].get("creationTimestamp", "")))


def _event(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    text = (
        f"{about.get('kind')}/{about.get('name')}: {event.get('reason')}: {event.get('message', '')}".strip()
    )
    text = redacting.redacted(text)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _owners(sample: Sample) -> list[str]:
    """Return the chain of owners from the worst pod upwards, as far as what was read shows it."""
    chain: list[str] = []
    if sample.pods and sample.target["kind"] != "Pod" and (owner := pods.controller_of(sample.pods[0])):
        chain.append(f"{owner['kind']}/{owner['name']}")
    own = f"{sample.target['kind']}/{sample.target['metadata']['name']}"
    above = pods.controller_of(sample.target)
    chain += [own] if own not in chain else []
    return [*chain, f"{above['kind']}/{above['name']}"] if above else chain


def _changes(target: Mapping[str, Any]) -> list[JsonValue]:
    """Return who wrote what people declare of an object; their status writers are its controllers."""
    told: list[JsonValue] = []
    for one in managed_fields.managers(target):
        declared = [path for path in one.fields if path[0] in ("spec", "data") or path[:2] == _LABELS]
        if one.subresource == "status" or not declared:
            continue
        names = ", ".join(fields.render(path) for path in declared[:_MAX_FIELDS])
        more = f" and {len(declared) - _MAX_FIELDS} more" if len(declared) > _MAX_FIELDS else ""
        told.append(f"{one.time} {one.name} ({one.operation}): {names}{more}"[:_MAX_CHANGE])
    return told[:_MAX_CHANGES]


def _rollout(target: Mapping[str, Any]) -> dict[str, JsonValue]:
    status = target.get("status") or {}
    if "observedGeneration" not in status or "replicas" not in (target.get("spec") or {}):
        return {}
    behind = status["observedGeneration"] < target["metadata"].get("generation", 0)
    return {
        "observed": not behind,
        "updated": status.get("updatedReplicas", 0),
        "available": status.get("availableReplicas", 0),
        "progressing": str(pods.condition(target, "Progressing").get("reason", "")),
    }


async def _log(cluster: Cluster, pod: Manifest, lines: int) -> dict[str, JsonValue]:
    """Return the end of the worst container's log; nothing where none was started or its log is gone."""
    started = [one for one in pods.containers(pod) if one.restarts or one.waiting not in _NO_LOG_YET]
    if not started:
        return {}
    worst = max(started, key=_concern)
    previous = worst.restarts > 0
    ref = ObjectRef.of(pod)
    try:
        text = await cluster.logs(
            ref, container=worst.name, previous=previous, tail_lines=lines, limit_bytes=16 * MAX_LOG_TAIL
        )
    except Forbidden:
        raise
    except ClusterError as error:
        # A former container's log is kept only for a while, and the pod's node may not answer.
        return {"logOf": redacting.redacted(f"{ref.name}/{worst.name}: could not be read: {error}")[:300]}
    text = redacting.redacted(text, redaction.known_values([pod]))
    return {"logOf": f"{ref.name}/{worst.name}{' (previous)' if previous else ''}", "logTail": text}


def _concern(container: ContainerView) -> tuple[bool, bool, int]:
    return container.troubled, not container.ready and not container.init, container.restarts
