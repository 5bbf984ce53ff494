"""``run_workflow``: start the run of a subflow. Internal: a step says ``workflow``; no ``action`` can name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue, ValidationError

from kubernaut.actions import probing
from kubernaut.actions.fencing import births
from kubernaut.api.base import DnsName
from kubernaut.api.execution import (
    Control,
    ParameterValue,
    ParentRef,
    RunPhase,
    Trigger,
    TriggerType,
    Verdict,
    WorkflowExecution,
    WorkflowExecutionSpec,
    WorkflowRef,
)
from kubernaut.api.names import API_VERSION, FINALIZER, GROUP, LABEL_WORKFLOW
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import AlreadyExists, ClusterError, Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, there

_ROUNDS: Final = 4
_KIND: Final = "WorkflowExecution"
_RESOURCE: Final = "workflowexecutions"
_VERDICTS: Final[Mapping[str, Answer]] = {
    Verdict.REMEDIATED: Answer.YES,
    Verdict.NOT_FIXED: Answer.NO,
    Verdict.ROLLED_BACK: Answer.NO,
}


class RunWorkflowParameters(ActionParameters):
    """Parameters of ``run_workflow``; ``name`` is what ``core.naming.child_run`` gave."""

    workflow: Annotated[DnsName, Field(description="Name of the Workflow, in the run's namespace.")]
    parameters: Annotated[
        tuple[ParameterValue, ...], Field(max_length=32, description="Values for its parameters.")
    ] = ()
    name: Annotated[DnsName, Field(description="Name of the run that is started.")]
    depth: Annotated[int, Field(ge=1, le=100, description="How many runs above it started each other.")] = 1


class StartRun:
    """Creates a run of another Workflow, once: its name follows from the step's key, and it names its parent.

    The run is created as this Workflow's account and acts as its own Workflow's. What it does is its own: this step
    counts as having changed nothing.
    """

    name: ClassVar = "run_workflow"
    summary: ClassVar = "Start the run of another Workflow"
    risk: ClassVar = Risk.LOW
    idempotency: ClassVar = Idempotency.NAMED
    parameters = RunWorkflowParameters
    outputs: ClassVar[Mapping[str, str]] = {"run": "Name of the run.", "uid": "Its UID."}

    def rights(self, target: ObjectRef | None, parameters: RunWorkflowParameters) -> tuple[Right, ...]:
        """Return create on runs, and get and patch on the one of this name, for finding and cancelling it."""
        named = (parameters.name,)
        return (
            Right("create", GROUP, _RESOURCE),
            Right("get", GROUP, _RESOURCE, named),
            Right("patch", GROUP, _RESOURCE, named),
        )

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: RunWorkflowParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return None: the name is all that is pinned."""
        return None

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: RunWorkflowParameters
    ) -> Done:
        """Create the run; where it exists and is this step's, it is done.

        Raises:
            StepError: PreconditionFailed, where another run has the name.
            UnknownOutcome: whether it was created could not be found out.
            ClusterError: as the API server answers.
        """
        body = _manifest(context, parameters)
        created = await births.once(
            cluster,
            body,
            lambda seen: _ours(seen, context, body),
            "start a new run if it is still needed",
        )
        return _done(created)

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: RunWorkflowParameters
    ) -> Done | None:
        """Look for the run; None where there is none of this step.

        Raises:
            ClusterError: that can't be seen now.
        """
        try:
            seen = await cluster.get(_ref(context, parameters))
            return _done(_ours(seen, context, _manifest(context, parameters)))
        except ClusterError as error:
            if error.transient:
                raise
            return None
        except StepError:
            return None

    async def fence(self, cluster: Cluster, context: StepContext, parameters: RunWorkflowParameters) -> Done:
        """Take the run's name with one that is cancelled before it begins: a create that was sent before finds it.

        Returns the run, where it was started.

        Raises:
            UnknownOutcome: whether the name is taken could not be found out.
            ClusterError: as the API server answers.
        """
        wanted = _manifest(context, parameters)
        taken = {**wanted, "spec": {**wanted["spec"], "control": {"cancel": True}}}
        ref = _ref(context, parameters)
        last: StepError | None = None
        for _ in range(_ROUNDS):
            try:
                await cluster.create(taken)
                return Done(False, f"{ref} can't be started any more: its name is taken")
            except AlreadyExists as error:
                last = error
            except UnknownOutcome as error:
                last = error
                continue
            try:
                return _done(_ours(await cluster.get(ref), context, wanted))
            except NotFound:
                continue
            except StepError as error:
                if error.reason is not Reason.PRECONDITION_FAILED:
                    raise
                return Done(False, f"{ref} can't be started any more: {error}")
        assert last is not None
        raise last

    def looks_at(self, context: StepContext, parameters: RunWorkflowParameters) -> tuple[Look, ...]:
        """Return the run."""
        return (_ref(context, parameters),)

    def probe(self, sight: Sight, context: StepContext, parameters: RunWorkflowParameters) -> Probed:
        """It happened where the run is there and names this step as its parent. It helped as its verdict says."""
        ref = _ref(context, parameters)
        seen = sight.of(ref)
        if seen is None or not _is_ours(seen, context):
            return probing.lacking(context, f"{ref} is not there, or not this step's")
        verdict = str((seen.get("status") or {}).get("verdict") or "unset")
        helped = _VERDICTS.get(verdict, Answer.UNKNOWN)
        return there(f"{ref} names step {context.step}", Said(helped, f"status.verdict is {verdict}"))

    async def undo(self, cluster: Cluster, context: StepContext, parameters: RunWorkflowParameters) -> Done:
        """The run that was started is cancelled; one that is finished or gone is left as it is."""
        ref = _ref(context, parameters)
        last: ClusterError | None = None
        for _ in range(_ROUNDS):
            try:
                seen = await cluster.get(ref)
                if not _is_ours(seen, context):
                    return Done(False, f"{ref} was not started by this step and is left alone")
                if RunPhase((seen.get("status") or {}).get("phase", RunPhase.PENDING)).final:
                    return Done(False, f"{ref} is finished; there is nothing to cancel")
                if (seen["spec"].get("control") or {}).get("cancel"):
                    return Done(False, f"{ref} is being cancelled already")
                version = seen["metadata"]["resourceVersion"]
                await cluster.patch(ref, {"spec": {"control": {"cancel": True}}}, resource_version=version)
            except NotFound:
                return Done(False, f"{ref} is gone; there is nothing to cancel")
            except (Conflict, UnknownOutcome) as error:
                last = error
            else:
                return Done(
                    True, f"{ref} is being cancelled", changed=(f"{ref}: spec.control.cancel: false -> true",)
                )
        assert last is not None
        raise last


def child_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return UID and step of the run that started this one; both empty where none did."""
    parent = (manifest.get("spec") or {}).get("parent") or {}
    return str(parent.get("uid", "")), str(parent.get("step", ""))


def _ref(context: StepContext, parameters: RunWorkflowParameters) -> ObjectRef:
    return ObjectRef(API_VERSION, _KIND, context.namespace, parameters.name)


def _is_ours(seen: Manifest, context: StepContext) -> bool:
    return child_of(seen) == (context.run_uid, context.step)


def _ours(seen: Manifest, context: StepContext, wanted: Manifest) -> Manifest:
    """Return the run as found, where it is what the step starts: its name is no secret, so others could take it.

    Raises:
        StepError: PreconditionFailed, where it is of another Workflow, parent or step, or has other parameters.
    """
    ours = WorkflowExecutionSpec.model_validate(wanted["spec"])
    try:
        there = WorkflowExecutionSpec.model_validate(seen["spec"])
    except ValidationError:
        there = None
    if there is None or there.replace(control=Control()) != ours.replace(control=Control()):
        raise StepError(
            f"{ObjectRef.of(seen)} exists and was not started by step {context.step} of run {context.run_name}; find "
            "out who created it, and delete it",
            reason=Reason.PRECONDITION_FAILED,
        )
    return seen


def _done(run: Manifest) -> Done:
    meta = run["metadata"]
    outputs: dict[str, JsonValue] = {"run": meta["name"], "uid": meta["uid"]}
    return Done(False, f"started {ObjectRef.of(run)}", outputs)


def _manifest(context: StepContext, parameters: RunWorkflowParameters) -> Manifest:
    given: Sequence[ParameterValue] = parameters.parameters
    run = WorkflowExecution(
        spec=WorkflowExecutionSpec(
            workflow_ref=WorkflowRef(name=parameters.workflow),
            parameters=list(given),
            trigger=Trigger(type=TriggerType.SUBFLOW, by=context.run_name[:253]),
            parent=ParentRef(
                name=context.run_name, uid=context.run_uid, step=context.step, depth=parameters.depth
            ),
        )
    ).wire()
    run["spec"].pop("control", None)
    run["metadata"] = {
        "name": parameters.name,
        "namespace": context.namespace,
        "labels": {LABEL_WORKFLOW: parameters.workflow} if len(parameters.workflow) <= 63 else {},
        # From birth, so that no deletion can overtake the history.
        "finalizers": [FINALIZER],
    }
    return run
