"""``Workflow``: a declared repair."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from kubernaut.api.base import (
    UNQUOTED,
    ApiModel,
    Condition,
    Count,
    DnsLabel,
    DnsName,
    Expression,
    Flag,
    Identifier,
    Message,
    ObjectMeta,
    Value,
)
from kubernaut.api.duration import Duration
from kubernaut.api.guards import Guards
from kubernaut.api.markers import ListMap, Rule
from kubernaut.api.names import API_VERSION
from kubernaut.api.steps import (
    ALTERNATE_TOLD,
    ApiVersion,
    Approval,
    Backoff,
    KindName,
    OnFailure,
    Retry,
    Step,
    StepName,
    StepTemplate,
    Wait,
)
from kubernaut.api.triggers import MAX_TRIGGERS, WorkflowTrigger

MAX_STEPS: Final = 1000
MAX_NAME: Final = 63
MAX_REVISIONS: Final = 10
MAX_METRICS: Final = 8
MAX_QUERY: Final = 2048
EXPECTS_SOMETHING: Final = "verify needs expect or metrics, or nothing would be verified"
_SECRET: Final = re.compile(r"([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)")

TtlSeconds = Annotated[int, Field(ge=0, le=315_360_000), UNQUOTED]
Query = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY)]
HistoryLimit = Annotated[int, Field(ge=0, le=10_000), UNQUOTED]


class ParameterType(StrEnum):
    """The types a parameter of a Workflow can have; a run gives every value as a string."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    SECRET = "secret"


class Parameter(ApiModel):
    """A value that a run gives to its Workflow."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.required) && self.required && has(self.default))",
            "a required parameter has no default",
            ".default",
        ),
    )

    name: Identifier
    """The name, as in params.NAME in expressions."""
    type: ParameterType = ParameterType.STRING
    """What the value is read as; runs write every value as a string, a secret as NAME/KEY of a Secret."""
    required: Flag = False
    """Whether every run has to give it."""
    default: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """The value where a run gives none."""
    description: Message = ""
    """What it means, for people."""

    @model_validator(mode="after")
    def _required_has_no_default(self) -> Self:
        if self.required and self.default is not None:
            raise ValueError(f"parameter {self.name}: a required parameter has no default")
        return self


class Target(ApiModel):
    """The object that a run repairs: in the run's own namespace, or of a kind that belongs to none."""

    api_version: ApiVersion
    """API group and version, as in apps/v1."""
    kind: KindName
    """Kind, as in Deployment."""
    name: Annotated[Value, StringConstraints(min_length=1)]
    """Name; a leading = makes it CEL, as in =params.deployment."""


class Metric(ApiModel):
    """A metric of Prometheus that has to be as expected after the last step."""

    name: DnsLabel
    """What it is called in messages and in the run's status."""
    query: Query
    """An instant query in PromQL; a leading = makes it CEL that gives one, as in ='up{job="' + params.job + '"}'."""
    expect: Expression
    """CEL on value, a double, as in value < 0.05; every sample that the query gives has to satisfy it."""


class Verify(ApiModel):
    """What must hold on the target, and of metrics, after the last step, and for how long."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.expect) && self.expect.size() > 0) || (has(self.metrics) && self.metrics.size() > 0)",
            EXPECTS_SOMETHING,
        ),
    )

    expect: Annotated[list[Expression], Field(max_length=16)] = Field(default_factory=list)
    """CEL on the target; all of it has to hold."""
    metrics: Annotated[list[Metric], Field(max_length=MAX_METRICS), ListMap("name")] = Field(
        default_factory=list
    )
    """Metrics that Prometheus is asked for once that holds; what can't be known is never success."""
    stabilization: Duration = timedelta(0)
    """How long it has to hold without a break."""
    timeout: Duration = timedelta(minutes=5)
    """When waiting for it ends, and the verdict is NotFixed."""

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.expect and not self.metrics:
            raise ValueError(EXPECTS_SOMETHING)
        return self


class Lifecycle(StrEnum):
    """Where a Workflow is in its life."""

    DRAFT = "Draft"
    ACTIVE = "Active"
    DEPRECATED = "Deprecated"


class ConcurrencyPolicy(StrEnum):
    """What a new run does while another run holds its target."""

    QUEUE = "Queue"
    FORBID = "Forbid"
    REPLACE = "Replace"


class Rollback(ApiModel):
    """How the steps that changed something are put back."""

    retry: Retry = Retry(limit=5, backoff=Backoff(initial=timedelta(seconds=2)))
    """How often an undo that met a conflict or was refused is tried again."""
    timeout: Duration = timedelta(minutes=10)
    """How long putting back may take in all; what is left then is told."""


class OutputValue(ApiModel):
    """One output of the whole run."""

    name: Identifier
    """Name of the output."""
    value: Value
    """The value; a leading = makes it CEL, as in =steps.diagnose.outputs.restarts."""


class WorkflowSpec(ApiModel):
    """What a person declares."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.alternate) == (self.onFailure == 'Alternate')", ALTERNATE_TOLD),
    )

    description: Message = ""
    """What the Workflow repairs, for people."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+-]*$", max_length=63)] = ""
    """The author's own version."""
    service_account_name: DnsName
    """The ServiceAccount that every step acts and reads as."""
    parameters: Annotated[list[Parameter], Field(max_length=32), ListMap("name")] = Field(
        default_factory=list
    )
    """What a run gives to the Workflow."""
    target: Target
    triggers: Annotated[list[WorkflowTrigger], Field(max_length=MAX_TRIGGERS)] = Field(default_factory=list)
    """What starts runs without a person; of several that fit an alert the first counts."""
    guards: Guards | None = None
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    """Draft: only dry runs start. Deprecated: runs that a person or another run starts, but none by an alert."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS), ListMap("name")]
    """What is done; the order comes from dependsOn alone."""
    templates: Annotated[list[StepTemplate], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list
    )
    """Steps for switch, forEach and alternate."""
    parallelism: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 10
    """How many steps may run at the same time."""
    priority: Annotated[int, Field(ge=-1000, le=1000), UNQUOTED] = 0
    """Runs of higher priority go first where they wait for a worker, a target or a resource."""
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.QUEUE
    """What a new run does while another holds its target: wait, refuse, or cancel that one (of this Workflow)."""
    on_failure: OnFailure = OnFailure.FAIL
    """What happens when a step has failed for good, where the step itself does not say."""
    alternate: StepName | None = None
    """The template that is run instead where a step has failed, with onFailure: Alternate."""
    rollback: Rollback = Rollback()
    finally_: Annotated[list[Step], Field(alias="finally", max_length=32), ListMap("name")] = Field(
        default_factory=list
    )
    """Steps that are run at the end however the run went, also when it was cancelled."""
    outputs: Annotated[list[OutputValue], Field(max_length=32), ListMap("name")] = Field(default_factory=list)
    """What the run as a whole gives, for the run that started it and for people."""
    timeout: Duration = timedelta(hours=1)
    """How long the whole run may take."""
    verify: Verify | None = None
    ttl_seconds_after_finished: TtlSeconds = 86_400
    """Seconds after its end at which a run is deleted from the cluster; the history keeps it."""
    successful_runs_history_limit: HistoryLimit | None = None
    """How many succeeded runs stay in the cluster at most, whatever their age; older ones are deleted once stored."""
    failed_runs_history_limit: HistoryLimit | None = None
    """The same for failed and cancelled runs."""

    @model_validator(mode="after")
    def _alternate_is_named(self) -> Self:
        if (self.alternate is not None) is not (self.on_failure is OnFailure.ALTERNATE):
            raise ValueError(ALTERNATE_TOLD)
        return self


class Revision(ApiModel):
    """One content that the Workflow has had."""

    snapshot: DnsName
    """The ControllerRevision that holds it."""
    content_hash: Annotated[str, StringConstraints(max_length=64)]
    """SHA-256 of the content."""
    revision: Count
    """The Workflow's revision that had it last."""


class WorkflowStatus(ApiModel):
    """What the operator says of a Workflow."""

    observed_generation: Count = 0
    """The generation of the spec that was looked at."""
    content_hash: Annotated[str, StringConstraints(max_length=64)] | None = None
    """SHA-256 of the spec's content."""
    snapshot: DnsName | None = None
    """The ControllerRevision that holds this content."""
    revision: Count | None = None
    """How many times the content has changed."""
    revisions: Annotated[list[Revision], Field(max_length=MAX_REVISIONS), ListMap("snapshot")] = Field(
        default_factory=list
    )
    """The newest contents, newest first; paused runs can move to these."""
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap("type")] = Field(
        default_factory=list
    )
    """Ready; PermissionsReady; Stalled, UndoneByAnother and, for features switched off, FeatureOff while true."""


class Workflow(ApiModel):
    """A declared repair: typed steps that run against one target with the rights of one ServiceAccount."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {MAX_NAME}",
            f"a Workflow's name has at most {MAX_NAME} characters, because it is a label of its runs",
        ),
    )

    api_version: Literal["kubernaut.io/v1alpha1"] = API_VERSION
    kind: Literal["Workflow"] = "Workflow"
    metadata: ObjectMeta = ObjectMeta()
    spec: WorkflowSpec
    status: WorkflowStatus | None = None

    @model_validator(mode="after")
    def _name_fits_a_label(self) -> Self:
        if len(self.metadata.name) > MAX_NAME:
            raise ValueError(self.cel_rules[0].message)
        return self


def is_secret_reference(text: str) -> bool:
    """Whether a text has the form NAME/KEY."""
    return _SECRET.fullmatch(text) is not None


def _secret(parameter: Parameter, text: str) -> dict[str, str]:
    found = _SECRET.fullmatch(text)
    if found is None or len(text) > 507:
        # Whoever gave the secret itself by mistake must not find it told.
        raise ValueError(
            f"parameter {parameter.name}: a secret is given by reference, as NAME/KEY of a Secret in the run's "
            "namespace; what was given is none, and is not told here"
        )
    return {"name": found[1], "key": found[2]}


def parse_parameter(parameter: Parameter, text: str) -> Any:
    """Turn the string a run gives into the declared type; a secret is the reference, ``name`` and ``key``.

    Raises:
        ValueError: the text is not of that type; names the parameter.
    """
    if parameter.type is ParameterType.SECRET:
        return _secret(parameter, text)
    try:
        match parameter.type:
            case ParameterType.STRING:
                return text
            case ParameterType.INTEGER:
                return int(text)
            case ParameterType.NUMBER:
                return float(text)
            case ParameterType.BOOLEAN:
                return {"true": True, "false": False}[text]
    except (ValueError, KeyError):
        raise ValueError(
            f"parameter {parameter.name}: {text!r} is not of type {parameter.type.value}"
        ) from None


__all__ = [
    "Approval",
    "Backoff",
    "ConcurrencyPolicy",
    "DnsLabel",
    "Lifecycle",
    "OnFailure",
    "Parameter",
    "ParameterType",
    "Retry",
    "Revision",
    "Step",
    "StepName",
    "Target",
    "Verify",
    "Wait",
    "Workflow",
    "WorkflowSpec",
    "WorkflowStatus",
    "parse_parameter",
]
