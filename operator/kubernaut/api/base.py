"""What all models of the API share: camelCase on the wire, strict fields, bounded strings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import WithJsonSchema

from kubernaut.api.markers import Rule

DnsLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
_DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
DnsName = Annotated[str, StringConstraints(pattern=_DNS_NAME, min_length=1, max_length=253)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-zA-Z0-9_]*$", min_length=1, max_length=63)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Value = Annotated[str, StringConstraints(max_length=1024)]
Message = Annotated[str, StringConstraints(max_length=1024)]
ReasonName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9]*)$", max_length=64)]
Uid = Annotated[str, StringConstraints(max_length=64)]


def could_be_a_name(text: str) -> bool:
    """Whether a text is what ``DnsName`` takes: could name a ServiceAccount, a Workflow, or most other objects."""
    return len(text) <= 253 and re.fullmatch(_DNS_NAME[1:-1], text) is not None


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise ValueError(f"{value!r} is not a number; write digits without quotes")
    return value


# Stands last in a number's annotations. Like the API server: 2.0 is an integer, "2" and true are not.
UNQUOTED: Final = BeforeValidator(_plain_number)
MAX_COUNT: Final = 2**53 - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT), UNQUOTED]
Share = Annotated[float, Field(ge=0, le=1), UNQUOTED]
Flag = Annotated[bool, Strict()]

TIME_PATTERN: Final = (
    r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z$"
)


def _validate_time(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(TIME_PATTERN[1:-1], value, re.ASCII):
        return datetime.fromisoformat(value)
    raise ValueError(f"{value!r} is not a time in UTC; write it as 2026-01-31T23:59:59Z")


def format_time(value: datetime) -> str:
    """Write a time as RFC 3339 in UTC with microseconds, the form of Kubernetes' MicroTime."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _validate_condition_time(value: Any) -> datetime:
    return _validate_time(value).replace(microsecond=0)


def _format_condition_time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Not format: date-time, for with a format the API server takes lists too; the rule looks at the calendar.
_TIME_RULE: Final = Rule(
    "timestamp(self) > timestamp('0999-12-31T23:59:59Z')", "a time is written in UTC, as 2026-01-31T23:59:59Z"
)
_TIME_SCHEMA: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": TIME_PATTERN,
        "maxLength": 32,
        "x-kubernetes-validations": [_TIME_RULE.schema()],
    }
)
Time = Annotated[
    datetime, BeforeValidator(_validate_time), PlainSerializer(format_time, return_type=str), _TIME_SCHEMA
]
ConditionTime = Annotated[
    datetime,
    BeforeValidator(_validate_condition_time),
    PlainSerializer(_format_condition_time, return_type=str),
    _TIME_SCHEMA,
]


class ApiModel(BaseModel):
    """A part of a custom resource; unknown fields are refused, as the API server does in strict mode."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", use_enum_values=False, frozen=True
    )
    cel_rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            return {name: value for name, value in data.items() if value is not None}
        return data

    @classmethod
    def from_wire(cls, data: Any) -> Self:
        """Read an object as the API server would in strict mode: camelCase names only.

        Raises:
            pydantic.ValidationError: the object is not valid; says where and why.
        """
        return cls.model_validate(data, by_alias=True, by_name=False)

    def wire(self) -> dict[str, Any]:
        """Return the object as it is sent to the API server: camelCase, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; values are trusted, as with ``dataclasses.replace``."""
        return self.model_copy(update=changes)


class ObjectMeta(BaseModel):
    """The part of Kubernetes' metadata that Kubernaut reads; what it does not know it keeps."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued truth."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """A condition as in ``meta/v1``: what holds, since when, why."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=64)]
    """What this condition is about, in CamelCase."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[ReasonName, StringConstraints(min_length=1)]
    """Why, in one word for machines."""
    message: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Why, in a sentence for people, with what to do."""
    last_transition_time: ConditionTime
    """Since when the status is as it is."""
    observed_generation: Count | None = None
    """The generation of the object that was looked at."""
