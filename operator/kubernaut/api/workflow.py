"""``Workflow``: a declared repair."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

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
from kubernaut.api.markers import ListMap, ListSet, Rule
from kubernaut.api.names import API_VERSION

MAX_STEPS: Final = 200
MAX_NAME: Final = 63
StepName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]

TtlSeconds = Annotated[int, Field(ge=0, le=315_360_000), UNQUOTED]


class ParameterType(StrEnum):
    """The types a parameter of a Workflow can have; a run gives every value as a string."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


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
    """What the value is read as; runs write every value as a string."""
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
    """The object that a run repairs, in the run's own namespace."""

    api_version: Annotated[
        str, StringConstraints(pattern=r"^([a-z0-9.-]+/)?v[0-9]+([a-z]+[0-9]+)?$", max_length=253)
    ]
    """API group and version, as in apps/v1."""
    kind: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]
    """Kind, as in Deployment."""
    name: Annotated[Value, StringConstraints(min_length=1)]
    """Name; a leading = makes it CEL, as in =params.deployment."""


class Backoff(ApiModel):
    """Waiting times between attempts: ``initial * factor ** (n - 1)``, at most ``max``."""

    initial: Duration = timedelta(seconds=1)
    """Wait before the first retry."""
    factor: Annotated[int, Field(ge=1, le=10), UNQUOTED] = 2
    """By how much each wait is longer than the one before."""
    max: Duration = timedelta(seconds=30)
    """The longest wait."""


class Retry(ApiModel):
    """How often a failed step is tried again; ``limit`` counts the retries, not the first attempt."""

    limit: Annotated[int, Field(ge=0, le=20), UNQUOTED] = 0
    """How many times a failed step is tried again."""
    backoff: Backoff = Backoff()


class Wait(ApiModel):
    """A step that waits: for a while, or until an expression on the target holds."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.duration) != has(self.until)", "set exactly one of duration and until"),
    )

    duration: Duration | None = None
    """How long to wait."""
    until: Expression | None = None
    """CEL that has to hold, as in target.status.readyReplicas > 0."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("set exactly one of duration and until")
        return self


class Approval(ApiModel):
    """A step that waits for a person; without an answer in time it is denied."""

    message: Message = ""
    """What the person is asked."""
    expires_after: Duration = timedelta(hours=1)
    """When silence counts as a denial."""


class Step(ApiModel):
    """One step of a Workflow: exactly one of ``action``, ``wait`` and ``approval``."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.action), has(self.wait), has(self.approval)].filter(x, x).size() == 1",
            "set exactly one of action, wait and approval",
        ),
        Rule("!has(self.with) || has(self.action)", "with needs an action", ".with"),
    )

    name: StepName
    """The name, as in steps.NAME in expressions."""
    action: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)] | None = None
    """An action of the catalogue, as in rollback_deployment."""
    wait: Wait | None = None
    approval: Approval | None = None
    depends_on: Annotated[list[StepName], Field(max_length=32), ListSet()] = Field(default_factory=list)
    """Steps that have to be done first."""
    when: Expression | None = None
    """CEL; where it is false the step is skipped."""
    with_: Annotated[dict[str, JsonValue] | None, Field(alias="with", max_length=32)] = None
    """Parameters of the action; a string with a leading = is CEL."""
    retry: Retry = Retry()
    timeout: Duration = timedelta(minutes=5)
    """How long the step may take, all attempts together."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = [kind for kind in (self.action, self.wait, self.approval) if kind is not None]
        if len(kinds) != 1:
            raise ValueError(f"step {self.name}: set exactly one of action, wait and approval")
        if self.with_ is not None and self.action is None:
            raise ValueError(f"step {self.name}: with needs an action")
        return self


class Verify(ApiModel):
    """What must hold on the target after the last step, and for how long."""

    expect: Annotated[list[Expression], Field(min_length=1, max_length=16)]
    """CEL on the target; all of it has to hold."""
    stabilization: Duration = timedelta(0)
    """How long it has to hold without a break."""
    timeout: Duration = timedelta(minutes=5)
    """When waiting for it ends, and the verdict is NotFixed."""


class OnFailure(StrEnum):
    """What happens when a step has failed for good."""

    FAIL = "Fail"
    ROLLBACK = "Rollback"


class WorkflowSpec(ApiModel):
    """What a person declares."""

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
    steps: Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS), ListMap("name")]
    """What is done; the order comes from dependsOn alone."""
    parallelism: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 10
    """How many steps may run at the same time."""
    on_failure: OnFailure = OnFailure.FAIL
    """What happens when a step has failed for good."""
    timeout: Duration = timedelta(hours=1)
    """How long the whole run may take."""
    verify: Verify | None = None
    ttl_seconds_after_finished: TtlSeconds = 86_400
    """Seconds after its end at which a run is deleted from the cluster; the history keeps it."""


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
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap("type")] = Field(
        default_factory=list
    )
    """Ready, Reconciling and Stalled."""


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


def parse_parameter(parameter: Parameter, text: str) -> Any:
    """Turn the string a run gives into the declared type.

    Raises:
        ValueError: the text is not of that type; names the parameter.
    """
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
    "DnsLabel",
    "OnFailure",
    "Parameter",
    "ParameterType",
    "Retry",
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
