"""``WorkflowExecution``: one run of a Workflow."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.api.base import (
    MAX_COUNT,
    UNQUOTED,
    ApiModel,
    Condition,
    Count,
    DnsLabel,
    DnsName,
    Flag,
    Identifier,
    Message,
    ObjectMeta,
    ReasonName,
    Time,
    Uid,
)
from kubernaut.api.markers import ListMap, ListSet, Rule
from kubernaut.api.names import API_VERSION
from kubernaut.api.steps import ActionName, StepName, StepPath
from kubernaut.api.workflow import MAX_METRICS, MAX_STEPS, HistoryLimit, TtlSeconds

MAX_RECORDS: Final = MAX_STEPS + 32
# More than two full forEach; the admission policy compares each answer with each, within a budget.
MAX_ANSWERS: Final = 256
Progress = Annotated[str, StringConstraints(pattern=r"^[0-9]+/[0-9]+$", max_length=16)]
_FIXED: Final = ("workflowRef", "parameters", "trigger", "dryRun", "retryFrom", "parent")
ALERT_TOLD: Final = "alert is given where type is Alert, and nowhere else"
UserName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


def _unchanged(field: str) -> str:
    return f"(has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field}))"


class RunPhase(StrEnum):
    """Where a run is. ``Succeeded``, ``Failed`` and ``Cancelled`` are final.

    ``Suspended`` waits for a person to say what becomes of a failed step; ``Finalizing`` is done but for the steps
    under finally.
    """

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    VERIFYING = "Verifying"
    ROLLING_BACK = "RollingBack"
    FINALIZING = "Finalizing"
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

    # A plain attribute, for decisions ask it of every step.
    final: bool

    def __init__(self, value: str) -> None:
        self.final = value in ("Succeeded", "Failed", "Skipped", "RolledBack")


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
    """Name of the Workflow."""


class ParameterValue(ApiModel):
    """One value for one parameter, always written as a string."""

    name: Identifier
    """Name of a parameter of the Workflow."""
    value: Annotated[str, StringConstraints(max_length=4096)]
    """The value; the Workflow says what it is read as."""


class TriggerType(StrEnum):
    """What started a run."""

    MANUAL = "Manual"
    ALERT = "Alert"
    RETRY = "Retry"
    SUBFLOW = "Subflow"


class AlertCause(ApiModel):
    """The alert that opened an incident, and the incident; more alerts may belong to it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Its alertname."""
    fingerprint: Annotated[str, StringConstraints(max_length=64)]
    """What Alertmanager tells it apart by."""
    starts_at: Time
    """Since when it fires."""
    labels: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)] = (
        Field(default_factory=dict)
    )
    """Its labels, cut where they are long or many."""
    incident: Annotated[str, StringConstraints(max_length=64)]
    """What the incident is told apart by: a hash of Workflow, target and alertname."""
    episode: Annotated[int, Field(ge=1, le=MAX_COUNT), UNQUOTED]
    """How many times it was there, with this one."""
    target_uid: Uid
    """UID of the object that the alert is about; a run repairs no other."""


class Trigger(ApiModel):
    """What started the run, for people who ask why."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.alert) == (has(self.type) && self.type == 'Alert')",
            ALERT_TOLD,
        ),
    )

    type: TriggerType = TriggerType.MANUAL
    """What kind of cause it was."""
    by: Annotated[str, StringConstraints(max_length=253)] = ""
    """Who started it."""
    reason: Message = ""
    """Why, in words."""
    alert: AlertCause | None = None

    @model_validator(mode="after")
    def _alert_goes_with_its_type(self) -> Self:
        if (self.alert is not None) is not (self.type is TriggerType.ALERT):
            raise ValueError(ALERT_TOLD)
        return self


class ParentRef(ApiModel):
    """The run, and its step, that started this one."""

    name: DnsName
    """Name of the run."""
    uid: Uid
    """UID of the run."""
    step: StepPath
    """The step that waits for this run."""
    depth: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 1
    """How many runs above this one started each other."""


class RetryFrom(ApiModel):
    """The run that is tried again from where it failed."""

    name: DnsName
    """Name of the failed or cancelled run, in the same namespace."""


class Decision(StrEnum):
    """A person's answer to an approval step."""

    APPROVE = "Approve"
    DENY = "Deny"


class ApprovalRecord(ApiModel):
    """A person's answer to one approval step; who answered is enforced by an admission policy."""

    step: StepPath
    """The approval step that is answered."""
    decision: Decision
    """The answer."""
    by: UserName
    """The user who answers; has to be the user who writes this."""
    reason: Message = ""
    """Why, in words."""
    parameters: Annotated[list[ParameterValue], Field(max_length=32), ListMap("name")] = Field(
        default_factory=list
    )
    """Other values for parameters that the step lets the approver override."""


class Remedy(StrEnum):
    """What a person wants done about a step that failed with onFailure: Manual."""

    RETRY = "Retry"
    SKIP = "Skip"
    FAIL = "Fail"
    ROLLBACK = "Rollback"


class Intervention(ApiModel):
    """A person's word on one failed attempt of a step; who said it is enforced by an admission policy."""

    step: StepPath
    """The step that failed."""
    attempt: Annotated[int, Field(ge=0, le=1000), UNQUOTED]
    """The attempt that failed; says nothing of later ones."""
    remedy: Remedy
    """What to do: try it again, go on without it, end the run, or put everything back."""
    by: UserName
    """The user who says so; has to be the user who writes this."""
    reason: Message = ""
    """Why, in words."""


class Control(ApiModel):
    """The part of a run's spec that may change after it was created."""

    cancel: Flag = False
    """End the run; can't be taken back."""
    paused: Flag = False
    """Start no more steps until this is false again."""
    approvals: Annotated[list[ApprovalRecord], Field(max_length=MAX_ANSWERS), ListMap("step")] = Field(
        default_factory=list
    )
    """Answers to approval steps; may only be added to."""
    interventions: Annotated[
        list[Intervention], Field(max_length=MAX_ANSWERS), ListMap("step", "attempt")
    ] = Field(default_factory=list)
    """What to do about failed steps that wait for a person; may only be added to."""
    migrate_to: DnsName | None = None
    """Snapshot of the same Workflow that a paused run shall follow from now on, where what was begun allows it."""


class WorkflowExecutionSpec(ApiModel):
    """What is to run; immutable but for ``control``."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            " && ".join(_unchanged(field) for field in _FIXED),
            "a run can't be changed once created, but for spec.control; start a new run",
        ),
        Rule(
            "!(has(oldSelf.control) && has(oldSelf.control.cancel) && oldSelf.control.cancel)"
            " || (has(self.control) && has(self.control.cancel) && self.control.cancel)",
            "a cancelled run can't be un-cancelled; start a new run",
            ".control",
        ),
    )

    workflow_ref: WorkflowRef
    parameters: Annotated[list[ParameterValue], Field(max_length=32), ListMap("name")] = Field(
        default_factory=list
    )
    """Values for the Workflow's parameters."""
    trigger: Trigger = Trigger()
    dry_run: Flag = False
    """Have the API server check every change without making it; the run tells what would change."""
    retry_from: RetryFrom | None = None
    """Take over what succeeded in that run, and begin where it failed."""
    parent: ParentRef | None = None
    control: Control = Control()


class ResolvedWorkflow(ApiModel):
    """Which content of the Workflow this run uses, whatever happens to the Workflow later."""

    name: DnsName
    """Name of the Workflow."""
    uid: Uid
    """UID of the Workflow."""
    content_hash: Annotated[str, StringConstraints(max_length=64)]
    """SHA-256 of the spec's content."""
    snapshot: DnsName
    """The ControllerRevision that holds this content."""
    revision: Count | None = None
    """The Workflow's revision that had this content."""
    service_account_name: DnsName
    """The ServiceAccount that the run acts as."""
    ttl_seconds_after_finished: TtlSeconds = 86_400
    """Seconds after its end at which the run is deleted from the cluster."""
    successful_runs_history_limit: HistoryLimit | None = None
    """How many succeeded runs of the Workflow stay in the cluster at most."""
    failed_runs_history_limit: HistoryLimit | None = None
    """The same for failed and cancelled runs."""


class Eta(ApiModel):
    """When the run is expected to end, from earlier runs of the Workflow that ended well."""

    expected: Time
    """The median."""
    earliest: Time
    """The 10th percentile."""
    latest: Time
    """The 90th percentile."""
    runs: Count
    """How many earlier runs this rests upon."""


class ResolvedTarget(ApiModel):
    """The object this run repairs, pinned by its UID."""

    api_version: Annotated[str, StringConstraints(max_length=253)]
    """API group and version of the object."""
    kind: Annotated[str, StringConstraints(max_length=63)]
    """Kind of the object."""
    name: DnsName
    """Name of the object."""
    uid: Uid
    """UID of the object; another object of that name is not touched."""


class StepStatus(ApiModel):
    """The short record of one step."""

    name: StepPath
    """Name of the step; one of a template is named below the step that uses it, as in each/0/restart."""
    phase: StepPhase = StepPhase.PENDING
    """Where the step is."""
    attempt: Annotated[int, Field(ge=0, le=1000), UNQUOTED] = 0
    """How many attempts were begun."""
    started_at: Time | None = None
    """When the first attempt began."""
    finished_at: Time | None = None
    """When the step ended for good."""
    retry_at: Time | None = None
    """When the next attempt begins."""
    reason: ReasonName | None = None
    """Why it is where it is, in one word for machines."""
    message: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """The same in a sentence, with what to do."""
    undo_attempt: Annotated[int, Field(ge=0, le=1000), UNQUOTED] | None = None
    """How many attempts to put it back have failed."""
    branch: StepName | None = None
    """The case that a switch took."""
    progress: Progress | None = None
    """Steps done of all steps of the run that a subflow started."""
    intent: Annotated[dict[str, JsonValue], Field(max_length=16)] | None = None
    """What was about to be done, written before it was done."""
    outputs: Annotated[dict[str, JsonValue], Field(max_length=64)] | None = None
    """What the action found or did, for later expressions."""
    changed: (
        Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] | None
    ) = None
    """What was changed, a sentence each."""


@lru_cache(maxsize=65_536)
def unbegun(name: str) -> StepStatus:
    """Return the record of a step that was not begun."""
    return StepStatus(name=name)


class MetricState(StrEnum):
    """What is known of a metric."""

    HELD = "Held"
    NOT_MET = "NotMet"
    UNKNOWN = "Unknown"


class MetricStatus(ApiModel):
    """What a metric was like when the verdict was given."""

    name: DnsLabel
    """Its name in spec.verify.metrics of the Workflow."""
    state: MetricState
    """Held: every sample was as expected. NotMet: one was not. Unknown: nobody can tell."""
    value: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The first sample that was not as expected, else the first, as Prometheus writes it."""
    samples: Count = 0
    """How many samples the query gave."""
    reason: ReasonName | None = None
    """Why nobody can tell."""


class WorkflowExecutionStatus(ApiModel):
    """What the run did and how it is; bounded by design, details live in the history."""

    observed_generation: Count = 0
    """The generation of the spec that was looked at."""
    phase: RunPhase = RunPhase.PENDING
    """Where the run is."""
    verdict: Verdict | None = None
    """Whether the run helped, by evidence gathered after the act."""
    outcome: RunPhase | None = None
    """How the run ends once its steps under finally are done."""
    progress: Progress | None = None
    """Steps done of all steps."""
    eta: Eta | None = None
    started_at: Time | None = None
    """When the first step began."""
    finished_at: Time | None = None
    """When the run ended."""
    verify_since: Time | None = None
    """Since when the result is being verified."""
    healthy_since: Time | None = None
    """Since when all that is expected holds without a break."""
    metrics: Annotated[list[MetricStatus], Field(max_length=MAX_METRICS), ListMap("name")] | None = None
    """What the metrics of verify were like when the verdict was given."""
    rollback_since: Time | None = None
    """Since when the run puts back what it changed."""
    workflow: ResolvedWorkflow | None = None
    target: ResolvedTarget | None = None
    reason: ReasonName | None = None
    """Why it is where it is, in one word for machines."""
    message: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """The same in a sentence, with what to do."""
    outputs: Annotated[dict[str, JsonValue], Field(max_length=32)] | None = None
    """What the Workflow declares as outputs of the whole run."""
    high_risk: Annotated[list[ActionName], Field(max_length=32), ListSet()] | None = None
    """The actions of high risk that were begun; their breaker counts how the run ends."""
    steps: Annotated[list[StepStatus], Field(max_length=MAX_RECORDS), ListMap("name")] = Field(
        default_factory=list
    )
    """One short record per step."""
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap("type")] = Field(
        default_factory=list
    )
    """Ready; Reconciling and Stalled while true; Succeeded and Verified once it is over."""


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
