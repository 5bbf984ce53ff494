"""``run_job``: run one Job to its end, and keep how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

from pydantic import JsonValue

from kubernaut.actions import pods, probing
from kubernaut.actions.fencing import births, created
from kubernaut.actions.jobs import job
from kubernaut.actions.jobs.job import JOB, POD
from kubernaut.actions.jobs.job_spec import CONTAINER, RunJobParameters, asked, job_of, job_ref
from kubernaut.actions.objects import rights
from kubernaut.actions.pinned_target import demand_target, target_rights
from kubernaut.actions.workloads.workload import owned_by
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import ClusterError, EffectFailed, Forbidden, NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, there
from kubernaut.core.redacting import redacted

MAX_LOG: Final = 4096
_READ: Final = 64 * 1024
_MOST_WAITS: Final = 300
_STUB: Final = "this name can't be used any more"


class RunJob:
    """Creates a Job of one container, waits for its end, and keeps its exit code and the end of its log.

    Its name follows from run, step and attempt, and it carries the step's signed mark: created again, it is found to
    be there. What is promised is one Job for each attempt, not one process: with `backoffLimit: 0` (the default) a
    pod that failed is not replaced, but a node that was cut off may still run it. While the Job runs the step waits,
    and no worker with it. The Job belongs to the run and goes with it; it has no time to live of its own, for its
    name must stay taken as long as the run may ask for it.

    The pod is one that the Pod Security Standard `restricted` admits: not root, no privilege escalation, no
    capabilities, the runtime's seccomp profile; there is no parameter for host namespaces, volumes or privileges. It
    runs as the Workflow's own ServiceAccount, without its token unless `mountToken: true`. Secrets come as
    `secretKeyRef` alone; who may create Jobs can so use every Secret of the namespace, as Kubernetes has it. What the
    Job writes to its log is told in the run's status, but for what it calls a secret (`password=`,
    `Authorization:`, a token in a URL, a private key): let it not write secrets.

    No Job is created where the run's target was deleted or made anew since the run pinned it: the step fails with
    `TargetNotFound` or `TargetReplaced`. A Job that is for what is gone, as one that tidies up under `finally` or
    after `delete_resource`, says `whenTargetGone: Act`. A Job that was created goes on whatever becomes of the
    target. It looks at nothing else in the cluster: whether it is still needed is for the step's `when` to say, which
    is asked right before, of the target as it is then.

    A Job that fails fails the step with `JobFailed`; the outputs are there all the same. Where the step's `timeout`
    is over, or the run is cancelled, the Job is deleted with its pods.
    """

    name: ClassVar = "run_job"
    summary: ClassVar = "Run one Job to its end; its exit code and log are outputs"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.NAMED
    parameters = RunJobParameters
    example: ClassVar = {"image": "registry.example.com/tools/migrate:2.1", "args": ["--check"]}
    outputs: ClassVar[Mapping[str, str]] = {
        "job": "Name of the Job.",
        "uid": "Its UID.",
        "pod": "Name of its last pod; empty where there was none.",
        "exitCode": "Exit code of that pod's container; null where it did not end by itself.",
        "log": "The end of its log, at most 4 KiB.",
    }

    def rights(self, target: ObjectRef | None, parameters: RunJobParameters) -> tuple[Right, ...]:
        """Return what creating, watching and deleting the Job needs, list on pods, get on their logs, and on the
        run's target.
        """
        needed = (
            *target_rights(target, parameters.when_target_gone),
            *rights(("create", "get", "list", "watch", "delete"), *JOB, ()),
            *rights(("list",), *POD, ()),
        )
        return (*needed, Right("get", "", "pods/log")) if parameters.tail_lines else needed

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: RunJobParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: the name is all that is pinned."""
        return None

    async def perform(self, cluster: Cluster, context: StepContext, parameters: RunJobParameters) -> Done:
        """Create the Job, or look how it fares where it is there.

        Raises:
            EffectFailed: JobFailed, where it failed or was deleted; with its outputs.
            StepError: PreconditionFailed, where another Job has the name; TargetNotFound, TargetReplaced.
            UnknownOutcome: whether it was created could not be found out.
            ClusterError: as the API server answers.
        """
        uid = str((context.intent or {}).get("uid", ""))
        if uid:
            seen = await _created(cluster, job_ref(context), uid)
        else:
            seen = await _create(cluster, context, parameters)
        if not self.ended(seen):
            return _going_on(seen)
        return await _ended(cluster, context, seen, parameters)

    def ended(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether the Job has completed or failed, so that its outcome can be read."""
        return job.finished(dict(manifest))

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: RunJobParameters
    ) -> Done | None:
        """Look for the Job; None where there is none of this attempt.

        Raises:
            ClusterError: that can't be seen now.
        """
        seen = await created.recalled(cluster, context, job_ref(context), asked(context, parameters))
        return None if seen is None else _going_on(seen)

    async def fence(self, cluster: Cluster, context: StepContext, parameters: RunJobParameters) -> Done:
        """Take the Job's name with one that never runs: a create that was sent before finds it.

        Returns the Job, where it was created.

        Raises:
            UnknownOutcome: whether the name is taken could not be found out.
            ClusterError: as the API server answers.
        """
        ref = job_ref(context)
        stub = job_of(context, parameters, stub=True)
        if (taken := await created.take_name(cluster, context, stub, _STUB)) is not None:
            found = await self.recall(cluster, context, parameters)
            return found or Done(False, f"{ref} can't be created any more: {taken}")
        return Done(False, f"{ref} can't be created any more: its name is taken")

    def looks_at(self, context: StepContext, parameters: RunJobParameters) -> tuple[Look, ...]:
        """Return the Job."""
        return (job_ref(context),)

    def probe(self, sight: Sight, context: StepContext, parameters: RunJobParameters) -> Probed:
        """It happened where the Job is there with the step's signed mark. It helped where the Job has completed,
        and did not where it failed; while it runs, and once it is gone with its run, that is Unknown.
        """
        seen = probing.created(sight, job_ref(context), context, asked(context, parameters))
        if isinstance(seen, Probed):
            return seen
        told = f"{ObjectRef.of(seen)} carries the mark of step {context.step}"
        if not self.ended(seen):
            return there(told, Said(Answer.UNKNOWN, "it goes on"))
        failed = job.failed(seen)
        return there(
            told,
            Said(
                Answer.NO if failed else Answer.YES,
                f"condition {'Failed' if failed else 'Complete'} holds",
            ),
        )

    async def undo(self, cluster: Cluster, context: StepContext, parameters: RunJobParameters) -> Done:
        """What a Job did can't be taken back. One that still runs is stopped: it is deleted, with its pods."""
        ref, what = job_ref(context), asked(context, parameters)
        why = await _waiting(cluster, context)
        kept = f"{ref} has ended; what it did can't be taken back"
        try:
            found = await created.withdraw(cluster, context, ref, what, self.ended, kept=kept)
        except NotFound:
            return Done(False, f"{ref} is gone; what it did can't be taken back")
        if isinstance(found, Done):
            return found
        told = f"{ref}: deleted, with its pods"
        return Done(True, f"{told}{why}; what it had done can't be taken back", changed=(told,))


async def _waiting(cluster: Cluster, context: StepContext) -> str:
    """Return for what the Job's newest pod waits, as a part of a sentence; empty where it runs or can't be seen."""
    name = job_ref(context).name
    try:
        found = await cluster.list(*POD, context.namespace, label_selector=_selector(name))
    except ClusterError:
        # It is told to help people, and must not stand in the way of stopping the Job.
        return ""
    # The Job's own deadline is the step's: its controller may just have begun to delete the pod.
    pod = max(found, key=_began, default=None)
    if pod is None:
        return ""
    waits = [f"{one.name}: {one.waiting}" for one in pods.containers(pod) if one.waiting]
    placed = pods.condition(pod, "PodScheduled")
    if placed.get("status") == "False":
        waits.append(f"it has no node: {placed.get('message') or placed.get('reason', '')}")
    return f" (pod {pod['metadata']['name']} waited, {'; '.join(waits)[:_MOST_WAITS]})" if waits else ""


def _going_on(seen: Manifest) -> Done:
    ref = ObjectRef.of(seen)
    return Done(True, f"{ref} was created", changed=(f"{ref}: created",), awaits=ref)


async def _created(cluster: Cluster, ref: ObjectRef, uid: str) -> Manifest:
    """Read the Job that this step is known to have created."""
    seen = await created.still_there(cluster, ref, uid)
    if seen is None:
        raise EffectFailed(
            f"{ref} was deleted by somebody before its end was seen; how it ended is not known",
            reason=Reason.JOB_FAILED,
            outputs={"job": ref.name, "uid": uid, "pod": "", "exitCode": None, "log": ""},
        )
    return seen


async def _create(cluster: Cluster, context: StepContext, parameters: RunJobParameters) -> Manifest:
    what = asked(context, parameters)
    try:
        await demand_target(cluster, context, parameters.when_target_gone, "no Job was created")
    except StepError as error:
        if error.reason not in (Reason.TARGET_NOT_FOUND, Reason.TARGET_REPLACED):
            raise
        # It may have been created while the target was there, and the answer not been stored.
        seen = await created.recalled(cluster, context, job_ref(context), what)
        if seen is None:
            raise
        return seen
    await _check_rights(cluster, context, parameters)
    return await births.create(cluster, context, job_of(context, parameters), what)


async def _check_rights(cluster: Cluster, context: StepContext, parameters: RunJobParameters) -> None:
    """Ask for what the Job's end takes before there is a Job whose end could not be told.

    Raises:
        Forbidden: the account may not read pods, or their logs.
        ClusterError: as the API server answers.
    """
    name = job_ref(context).name
    await cluster.list(*POD, context.namespace, label_selector=_selector(name), limit=1)
    if parameters.tail_lines:
        with suppress(NotFound):
            await cluster.logs(ObjectRef(*POD, context.namespace, name), container=CONTAINER, tail_lines=1)


async def _ended(
    cluster: Cluster, context: StepContext, seen: Manifest, parameters: RunJobParameters
) -> Done:
    """Return how the Job ended.

    Raises:
        EffectFailed: it failed.
    """
    ref = ObjectRef.of(seen)
    found = await cluster.list(*POD, context.namespace, label_selector=_selector(ref.name))
    pod = max(owned_by(seen, found), key=_began, default=None)
    code = None if pod is None else _exit_code(pod)
    log, trouble = await _log(cluster, pod, parameters)
    outputs: dict[str, JsonValue] = {
        "job": ref.name,
        "uid": ref.uid,
        "pod": "" if pod is None else pod["metadata"]["name"],
        "exitCode": code,
        "log": log,
    }
    told = "" if code is None else f" with exit code {code}"
    if job.failed(seen):
        why = pods.condition(seen, "Failed")
        raise EffectFailed(
            f"{ref} failed{told} ({why.get('reason', 'no reason is told')}: {why.get('message', '')}){trouble}",
            reason=Reason.JOB_FAILED,
            outputs=outputs,
        )
    return Done(True, f"{ref} has completed{told}{trouble}", outputs, (f"{ref}: created",))


async def _log(cluster: Cluster, pod: Manifest | None, parameters: RunJobParameters) -> tuple[str, str]:
    """Return the end of the pod's log, and what to say where it could not be read."""
    if pod is None or not parameters.tail_lines:
        return "", ""
    ref = ObjectRef.of(pod)
    try:
        text = await cluster.logs(
            ref, container=CONTAINER, tail_lines=parameters.tail_lines, limit_bytes=_READ
        )
    except Forbidden:
        raise
    except ClusterError as error:
        # How it ended is known all the same, and waiting for the log would hide that.
        return "", f"; the log of {ref} could not be read: {error}"
    return redacted(text).encode()[-MAX_LOG:].decode(errors="ignore"), ""


def _exit_code(pod: Manifest) -> int | None:
    # Others may have put containers of their own into the pod.
    return next((one.exit_code for one in pods.containers(pod) if one.name == CONTAINER), None)


def _began(pod: Manifest) -> tuple[str, str]:
    return (pod.get("status") or {}).get("startTime") or "", pod["metadata"]["name"]


def _selector(name: str) -> str:
    return f"batch.kubernetes.io/job-name={name}"
