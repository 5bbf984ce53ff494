"""``WorkflowExecution``: one run of a Workflow."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.api.base import ApiModel, Condition, DnsName, Identifier, Message, ObjectMeta, ReasonName, Time
from kubernaut.api.names import API_VERSION
from kubernaut.api.workflow import MAX_STEPS, StepName, cel

_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def _unchanged(field: str) -> str:
    return f"(has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field}))"


class RunPhase(StrEnum):
    """Where a run is. ``Succeeded``, ``Failed`` and ``Cancelled`` are final."""

    PENDING = "Pending"
    RUNNING = "Running"
    VERIFYING = "Verifying"
    ROLLING_BACK = "RollingBack"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self in (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED)


class StepPhase(StrEnum):
    """Where a step is. ``Succeeded``, ``Failed``, ``Skipped`` and ``RolledBack`` are final."""

    PENDING = "Pending"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    ROLLED_BACK = "RolledBack"

    @property
    def final(self) -> bool:
        return self in (StepPhase.SUCCEEDED, StepPhase.FAILED, StepPhase.SKIPPED, StepPhase.ROLLED_BACK)


class Verdict(StrEnum):
    """Whether the run helped. Nothing counts as help without evidence gathered after the act."""

    REMEDIATED = "Remediated"
    NOT_FIXED = "NotFixed"
    INCONCLUSIVE = "Inconclusive"
    SELF_HEALED = "SelfHealed"
    NO_ACTION_REQUIRED = "NoActionRequired"
    DECLINED = "Declined"
    ROLLED_BACK = "RolledBack"


class WorkflowRef(ApiModel):
    """The Workflow to run, in the run's own namespace."""

    name: DnsName


class ParameterValue(ApiModel):
    """One value for one parameter, always written as a string."""

    name: Identifier
    value: Annotated[str, StringConstraints(max_length=4096)]


class TriggerType(StrEnum):
    """What started a run."""

    MANUAL = "Manual"


class Trigger(ApiModel):
    """What started the run, for people who ask why."""

    type: TriggerType = TriggerType.MANUAL
    by: Annotated[str, StringConstraints(max_length=253)] = ""
    reason: Message = ""


class Decision(StrEnum):
    """A person's answer to an approval step."""

    APPROVE = "Approve"
    DENY = "Deny"


class ApprovalRecord(ApiModel):
    """A person's answer to one approval step; who answered is enforced by an admission policy."""

    step: StepName
    decision: Decision
    by: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    reason: Message = ""


class Control(ApiModel):
    """The part of a run's spec that may change after it was created."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                cel(
                    "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
                    "a cancelled run can't be un-cancelled; start a new run",
                    fieldPath=".cancel",
                )
            ]
        }
    }

    cancel: bool = False
    paused: bool = False
    approvals: Annotated[list[ApprovalRecord], Field(max_length=32)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["step"]},
    )

    @model_validator(mode="after")
    def _one_answer_a_step(self) -> Self:
        steps = [record.step for record in self.approvals]
        if len(set(steps)) != len(steps):
            raise ValueError("approvals: a step is answered twice")
        return self


class WorkflowExecutionSpec(ApiModel):
    """What is to run; immutable but for ``control``."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                cel(
                    " && ".join(_unchanged(f) for f in ("workflowRef", "parameters", "trigger")),
                    "a run can't be changed once created, but for spec.control; start a new run",
                ),
                cel(
                    "!(has(oldSelf.control) && has(oldSelf.control.cancel) && oldSelf.control.cancel)"
                    " || (has(self.control) && has(self.control.cancel) && self.control.cancel)",
                    "a cancelled run can't be un-cancelled; start a new run",
                    fieldPath=".control",
                ),
            ]
        }
    }

    workflow_ref: WorkflowRef
    parameters: Annotated[list[ParameterValue], Field(max_length=32)] = Field(
        default_factory=list, json_schema_extra=dict(_MAP_BY_NAME)
    )
    trigger: Trigger = Trigger()
    control: Control = Control()

    @model_validator(mode="after")
    def _one_value_a_parameter(self) -> Self:
        names = [value.name for value in self.parameters]
        if len(set(names)) != len(names):
            raise ValueError("parameters: a name is given twice")
        return self


class ResolvedWorkflow(ApiModel):
    """Which content of the Workflow this run uses, whatever happens to the Workflow later."""

    name: DnsName
    uid: Annotated[str, StringConstraints(max_length=64)]
    content_hash: Annotated[str, StringConstraints(max_length=64)]
    snapshot: DnsName
    service_account_name: DnsName


class ResolvedTarget(ApiModel):
    """The object this run repairs, pinned by its UID."""

    api_version: Annotated[str, StringConstraints(max_length=253)]
    kind: Annotated[str, StringConstraints(max_length=63)]
    name: DnsName
    uid: Annotated[str, StringConstraints(max_length=64)]


class StepStatus(ApiModel):
    """The short record of one step."""

    name: StepName
    phase: StepPhase = StepPhase.PENDING
    attempt: Annotated[int, Field(ge=0, le=1000)] = 0
    started_at: Time | None = None
    finished_at: Time | None = None
    retry_at: Time | None = None
    reason: ReasonName | None = None
    message: Annotated[str, StringConstraints(max_length=2048)] | None = None
    intent: Annotated[dict[Identifier, JsonValue], Field(max_length=16)] | None = None
    outputs: Annotated[dict[Identifier, JsonValue], Field(max_length=64)] | None = None
    changed: (
        Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] | None
    ) = None


class WorkflowExecutionStatus(ApiModel):
    """What the run did and how it is; bounded by design, details live in the history."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    phase: RunPhase = RunPhase.PENDING
    verdict: Verdict | None = None
    progress: Annotated[str, StringConstraints(pattern=r"^[0-9]+/[0-9]+$", max_length=16)] | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    verify_since: Time | None = None
    healthy_since: Time | None = None
    workflow: ResolvedWorkflow | None = None
    target: ResolvedTarget | None = None
    reason: ReasonName | None = None
    message: Annotated[str, StringConstraints(max_length=2048)] | None = None
    steps: Annotated[list[StepStatus], Field(max_length=MAX_STEPS)] = Field(
        default_factory=list, json_schema_extra=dict(_MAP_BY_NAME)
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class WorkflowExecution(ApiModel):
    """One run of a Workflow: what was asked, what was done, and whether it helped."""

    api_version: Literal["kubernaut.io/v1alpha1"] = API_VERSION
    kind: Literal["WorkflowExecution"] = "WorkflowExecution"
    metadata: ObjectMeta = ObjectMeta()
    spec: WorkflowExecutionSpec
    status: WorkflowExecutionStatus | None = None

    def given(self) -> dict[str, Any]:
        """Return the parameters as given: name to string."""
        return {value.name: value.value for value in self.spec.parameters}
