"""The steps of a Workflow: what they do, when, how often, and what follows where they fail."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.api.base import UNQUOTED, ApiModel, DnsName, Expression, Identifier, Message, Value
from kubernaut.api.duration import Duration
from kubernaut.api.markers import ListMap, ListSet, Rule

StepName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
MAX_PATH: Final = 253
# A step within a forEach, a branch or an alternate: each/0/restart.
StepPath = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9/]*[a-z0-9])?$", min_length=1, max_length=MAX_PATH)
]
ApiVersion = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]+/)?v[0-9]+([a-z]+[0-9]+)?$", max_length=253)
]
KindName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]
ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
KINDS: Final = ("action", "wait", "approval", "workflow", "switch", "forEach")
ALTERNATE_TOLD: Final = "alternate names a template, and goes with onFailure: Alternate"
KINDS_TOLD: Final = "set exactly one of action, wait, approval, workflow, switch and forEach"


class OnFailure(StrEnum):
    """What happens when a step has failed for good."""

    FAIL = "Fail"
    CONTINUE = "Continue"
    ROLLBACK = "Rollback"
    ALTERNATE = "Alternate"
    MANUAL = "Manual"


class OnUnknown(StrEnum):
    """What happens when it can't be found out whether an effect happened."""

    FAIL = "Fail"
    RETRY = "Retry"


class BackoffPolicy(StrEnum):
    """How the waits between attempts grow."""

    FIXED = "Fixed"
    LINEAR = "Linear"
    EXPONENTIAL = "Exponential"


class Backoff(ApiModel):
    """Waiting times between attempts, at most ``max``.

    After failed attempt n: ``initial`` (Fixed), ``initial * n`` (Linear), or ``initial * factor ** (n - 1)``
    (Exponential).
    """

    policy: BackoffPolicy = BackoffPolicy.EXPONENTIAL
    """How the waits grow: Fixed, Linear or Exponential."""
    initial: Duration = timedelta(seconds=1)
    """Wait before the first retry."""
    factor: Annotated[int, Field(ge=1, le=10), UNQUOTED] = 2
    """By how much each wait is longer than the one before, for Exponential."""
    max: Duration = timedelta(seconds=30)
    """The longest wait."""
    jitter_percent: Annotated[int, Field(ge=0, le=100), UNQUOTED] = 0
    """By how much a wait may be shorter, in percent, so that many runs do not try again at once."""


class Retry(ApiModel):
    """How often a failed step is tried again; ``limit`` counts the retries, not the first attempt."""

    limit: Annotated[int, Field(ge=0, le=20), UNQUOTED] = 0
    """How many times a failed step is tried again."""
    backoff: Backoff = Backoff()
    """Waiting times between the attempts."""
    when: Expression | None = None
    """CEL on failure.reason, .category, .message, .transient and .attempt; where false, it is not tried again."""


class WatchedObject(ApiModel):
    """An object in the run's namespace, seen as the Workflow's account."""

    api_version: ApiVersion
    """API group and version, as in apps/v1."""
    kind: KindName
    """Kind, as in Deployment."""
    name: Annotated[Value, StringConstraints(min_length=1)]
    """Name; a leading = makes it CEL."""


class Wait(ApiModel):
    """A step that waits: for a while, or until an expression holds on the target or on another object."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.duration) != has(self.until)", "set exactly one of duration and until"),
        Rule("!has(self.object) || has(self.until)", "object needs until", ".object"),
    )

    duration: Duration | None = None
    """How long to wait."""
    until: Expression | None = None
    """CEL that has to hold, as in target.status.readyReplicas > 0."""
    object: WatchedObject | None = None
    """What is watched beside the target; until sees it as object."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("set exactly one of duration and until")
        if self.object is not None and self.until is None:
            raise ValueError("object needs until")
        return self


class Approval(ApiModel):
    """A step that waits for a person; without an answer in time it is denied."""

    message: Message = ""
    """What the person is asked."""
    expires_after: Duration = timedelta(hours=1)
    """When silence counts as a denial."""
    may_override: Annotated[list[Identifier], Field(max_length=32), ListSet()] = Field(default_factory=list)
    """Parameters of the Workflow that the approver may give other values, for the steps that follow."""


class Argument(ApiModel):
    """One parameter of the Workflow that is started."""

    name: Identifier
    """Name of a parameter of that Workflow."""
    value: Value
    """The value; a leading = makes it CEL."""


class Subflow(ApiModel):
    """A run of another Workflow of the same namespace; the step ends as that run ends."""

    name: DnsName
    """Name of the Workflow."""
    parameters: Annotated[list[Argument], Field(max_length=32), ListMap("name")] = Field(default_factory=list)
    """Values for its parameters."""


class Case(ApiModel):
    """One branch of a switch."""

    name: StepName
    """Name of the branch; its steps are SWITCH/NAME/STEP."""
    when: Expression
    """CEL; the first case that holds is taken."""
    template: StepName
    """The template whose steps are run."""


class Switch(ApiModel):
    """A decision: the first case that holds is taken, and its template's steps are run."""

    cases: Annotated[list[Case], Field(min_length=1, max_length=16), ListMap("name")]
    """The branches, looked at in order."""
    default: StepName | None = None
    """The template where no case holds; without one, nothing is run."""


class Selection(ApiModel):
    """Objects in the run's namespace by their labels, as the Workflow's account sees them."""

    api_version: ApiVersion
    """API group and version, as in v1."""
    kind: KindName
    """Kind, as in Pod."""
    label_selector: Annotated[Value, StringConstraints(min_length=1)]
    """Label selector, as in app=web,tier!=test; a leading = makes it CEL."""


class ForEach(ApiModel):
    """The same steps for each item of a list, or for each object of a selection."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.items), has(self.itemsFrom), has(self.select)].filter(x, x).size() == 1",
            "set exactly one of items, itemsFrom and select",
        ),
    )

    items: Annotated[list[Value], Field(min_length=1, max_length=100)] | None = None
    """The items as texts; a leading = makes one CEL."""
    items_from: Expression | None = None
    """CEL that gives a list."""
    select: Selection | None = None
    """Objects by label; an item has name and uid."""
    max_items: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 100
    """More items than this fail the step before anything is done."""
    parallelism: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 1
    """How many items may be under way at the same time."""
    template: StepName
    """The template whose steps are run for each; they see item and index."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(source is not None for source in (self.items, self.items_from, self.select)) != 1:
            raise ValueError("set exactly one of items, itemsFrom and select")
        return self


class Use(ApiModel):
    """So much of a scarce resource, of which the cluster has a capacity that all runs share."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
    """Name of the resource, as in node-drain."""
    amount: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 1
    """How much of it the step takes while it runs."""


class Step(ApiModel):
    """One step of a Workflow; exactly one field says what it does."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[" + ", ".join(f"has(self.{kind})" for kind in KINDS) + "].filter(x, x).size() == 1", KINDS_TOLD
        ),
        Rule("!has(self.with) || has(self.action)", "with needs an action", ".with"),
        Rule("!has(self.onUnknown) || has(self.action)", "onUnknown needs an action", ".onUnknown"),
        Rule(
            "has(self.alternate) == (has(self.onFailure) && self.onFailure == 'Alternate')",
            ALTERNATE_TOLD,
        ),
    )

    name: StepName
    """The name, as in steps.NAME in expressions."""
    action: ActionName | None = None
    """An action of the catalogue, as in rollback_deployment."""
    wait: Wait | None = None
    approval: Approval | None = None
    workflow: Subflow | None = None
    switch: Switch | None = None
    for_each: ForEach | None = None
    depends_on: Annotated[list[StepName], Field(max_length=32), ListSet()] = Field(default_factory=list)
    """Steps that have to be done first."""
    when: Expression | None = None
    """CEL; where it is false the step is skipped."""
    with_: Annotated[dict[str, JsonValue] | None, Field(alias="with", max_length=32)] = None
    """Parameters of the action; a string with a leading = is CEL."""
    retry: Retry = Retry()
    timeout: Duration | None = None
    """How long the step may take, all attempts together; 5m for actions and conditions, else without end."""
    on_failure: OnFailure | None = None
    """What happens when this step has failed for good; unset, what the Workflow says."""
    alternate: StepName | None = None
    """The template that is run instead where this step has failed."""
    on_unknown: OnUnknown | None = None
    """Where an action can't be fenced and its outcome is not known: Fail (unset) ends the step, Retry repeats it."""
    resources: Annotated[list[Use], Field(max_length=4), ListMap("name")] = Field(default_factory=list)
    """Scarce resources that the step takes while it runs."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = (self.action, self.wait, self.approval, self.workflow, self.switch, self.for_each)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(f"step {self.name}: {KINDS_TOLD}")
        if self.with_ is not None and self.action is None:
            raise ValueError(f"step {self.name}: with needs an action")
        if self.on_unknown is not None and self.action is None:
            raise ValueError(f"step {self.name}: onUnknown needs an action")
        if (self.alternate is not None) is not (self.on_failure is OnFailure.ALTERNATE):
            raise ValueError(f"step {self.name}: {ALTERNATE_TOLD}")
        return self


class StepTemplate(ApiModel):
    """Named steps that switch, forEach and alternate refer to; they may refer to further templates."""

    name: StepName
    """Name of the template."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=50), ListMap("name")]
    """Its steps; dependsOn names steps of the same template."""
