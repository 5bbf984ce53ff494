"""``Workflow``: a declared repair."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.api.base import (
    ApiModel,
    Condition,
    DnsLabel,
    DnsName,
    Expression,
    Identifier,
    Message,
    ObjectMeta,
    Value,
)
from kubernaut.api.duration import Duration
from kubernaut.api.names import API_VERSION

MAX_STEPS = 200
StepName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]


def cel(rule: str, message: str, **extra: str) -> dict[str, str]:
    """Return one entry of ``x-kubernetes-validations``."""
    return {"rule": rule, "message": message, **extra}


class ParameterType(StrEnum):
    """The types a parameter of a Workflow can have; a run gives every value as a string."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Parameter(ApiModel):
    """A value that a run gives to its Workflow."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                cel(
                    "!(has(self.required) && self.required && has(self.default))",
                    "a required parameter has no default",
                    fieldPath=".default",
                )
            ]
        }
    }

    name: Identifier
    type: ParameterType = ParameterType.STRING
    required: bool = False
    default: Annotated[str, StringConstraints(max_length=1024)] | None = None
    description: Message = ""

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
    kind: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]
    name: Annotated[Value, StringConstraints(min_length=1)]


class Backoff(ApiModel):
    """Waiting times between attempts: ``initial * factor ** (n - 1)``, at most ``max``."""

    initial: Duration = timedelta(seconds=1)
    factor: Annotated[int, Field(ge=1, le=10)] = 2
    max: Duration = timedelta(seconds=30)


class Retry(ApiModel):
    """How often a failed step is tried again; ``limit`` counts the retries, not the first attempt."""

    limit: Annotated[int, Field(ge=0, le=20)] = 0
    backoff: Backoff = Backoff()


class Wait(ApiModel):
    """A step that waits: for a while, or until an expression on the target holds."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                cel("has(self.duration) != has(self.until)", "set exactly one of duration and until")
            ]
        }
    }

    duration: Duration | None = None
    until: Expression | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("set exactly one of duration and until")
        return self


class Approval(ApiModel):
    """A step that waits for a person; without an answer in time it is denied."""

    message: Message = ""
    expires_after: Duration = timedelta(hours=1)


class Step(ApiModel):
    """One step of a Workflow: exactly one of ``action``, ``wait`` and ``approval``."""

    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                cel(
                    "[has(self.action), has(self.wait), has(self.approval)].filter(x, x).size() == 1",
                    "set exactly one of action, wait and approval",
                ),
                cel("!has(self.with) || has(self.action)", "with needs an action", fieldPath=".with"),
            ]
        }
    }

    name: StepName
    action: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)] | None = None
    wait: Wait | None = None
    approval: Approval | None = None
    depends_on: Annotated[list[StepName], Field(max_length=32)] = Field(
        default_factory=list, json_schema_extra={"x-kubernetes-list-type": "set"}
    )
    when: Expression | None = None
    with_: Annotated[dict[Identifier, JsonValue] | None, Field(alias="with", max_length=32)] = None
    retry: Retry = Retry()
    timeout: Duration = timedelta(minutes=5)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = [kind for kind in (self.action, self.wait, self.approval) if kind is not None]
        if len(kinds) != 1:
            raise ValueError(f"step {self.name}: set exactly one of action, wait and approval")
        if self.with_ is not None and self.action is None:
            raise ValueError(f"step {self.name}: with needs an action")
        if len(set(self.depends_on)) != len(self.depends_on):
            raise ValueError(f"step {self.name}: dependsOn names a step twice")
        return self


class Verify(ApiModel):
    """What must hold on the target after the last step, and for how long."""

    expect: Annotated[list[Expression], Field(min_length=1, max_length=16)]
    stabilization: Duration = timedelta(0)
    timeout: Duration = timedelta(minutes=5)


class OnFailure(StrEnum):
    """What happens when a step has failed for good."""

    FAIL = "Fail"
    ROLLBACK = "Rollback"


class WorkflowSpec(ApiModel):
    """What a person declares."""

    description: Message = ""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+-]*$", max_length=63)] = ""
    service_account_name: DnsName
    parameters: Annotated[list[Parameter], Field(max_length=32)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    target: Target
    steps: Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS)] = Field(
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    )
    parallelism: Annotated[int, Field(ge=1, le=100)] = 10
    on_failure: OnFailure = OnFailure.FAIL
    timeout: Duration = timedelta(hours=1)
    verify: Verify | None = None
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] = 86_400

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("parameter", [p.name for p in self.parameters]),
            ("step", [s.name for s in self.steps]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]} is declared twice")
        return self


class WorkflowStatus(ApiModel):
    """What the operator says of a Workflow."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    content_hash: Annotated[str, StringConstraints(max_length=64)] | None = None
    snapshot: DnsName | None = None
    revision: Annotated[int, Field(ge=0)] | None = None
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class Workflow(ApiModel):
    """A declared repair: typed steps that run against one target with the rights of one ServiceAccount."""

    api_version: Literal["kubernaut.io/v1alpha1"] = API_VERSION
    kind: Literal["Workflow"] = "Workflow"
    metadata: ObjectMeta = ObjectMeta()
    spec: WorkflowSpec
    status: WorkflowStatus | None = None


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
