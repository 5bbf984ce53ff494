"""A plan: a Workflow with everything compiled, as runs follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Protocol

from kubernaut.api.reasons import REASONS, Reason
from kubernaut.api.steps import Step
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.action import Action
from kubernaut.core.errors import KubernautError
from kubernaut.core.expressions import Compiled, Template
from kubernaut.core.triggers import PlannedTrigger

DEFAULT_TIMEOUT: Final = timedelta(minutes=5)
MAIN: Final = ""
FINALLY: Final = "finally/"
ALTERNATE: Final = "alternate"
# Stands for the index in the names of a forEach's steps until the items are known.
ANY: Final = "#"


class Catalogue(Protocol):
    """The actions that exist."""

    def find(self, name: str) -> Action[Any] | None:
        """Return the action of this name, or None."""
        ...

    def suggest(self, name: str) -> str | None:
        """Return the known name nearest to an unknown one."""
        ...

    def internal(self, name: str) -> Action[Any]:
        """Return an action that steps of other kinds are made of; no Workflow can name it."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a Workflow: machine-readable reason, field path, what is wrong, how to mend it."""

    reason: Reason
    path: str
    message: str

    @property
    def fix(self) -> str:
        info = REASONS.get(self.reason)
        return info.fix if info else ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message} {self.fix}".strip()


class PlanInvalid(KubernautError):
    """A Workflow that can't run; carries every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Kind(Enum):
    """What a step is. The last three are groups: what they do is done by steps of a template."""

    ACTION = "action"
    WAIT = "wait"
    APPROVAL = "approval"
    WORKFLOW = "workflow"
    SWITCH = "switch"
    FOR_EACH = "forEach"
    ALTERNATE = "alternate"

    @property
    def group(self) -> bool:
        return self in (Kind.SWITCH, Kind.FOR_EACH, Kind.ALTERNATE)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with everything compiled.

    Attributes:
        name: its path: ``restart``, or ``each/#/restart`` for the step of a template that a forEach uses.
        position: its place in the order of the whole plan.
        parent: the group it belongs to; MAIN or FINALLY for a step of the Workflow itself.
        branch: the case of the switch it belongs to.
        index: the item of the forEach it belongs to (the innermost), where known.
        needs: the steps it depends on, directly, by path.
        action: what is performed; for a subflow and a selection an internal one.
        outputs_used: steps, by path, whose outputs its decision (when, with, until, cases, items) hangs on.
        uses: what its expressions call those steps, and their paths.
        uses_target: whether its decision hangs on the target as seen.
        outputs_matter: whether any expression of the Workflow refers to this step.
        each: the forEach steps around it, outermost first, by path.
        high: whether what it does is of high risk.
    """

    name: str
    position: int
    spec: Step
    kind: Kind = Kind.ACTION
    parent: str = MAIN
    branch: str = ""
    index: int | None = None
    needs: tuple[str, ...] = ()
    action: Action[Any] | None = None
    with_: Template | None = None
    when: Compiled | None = None
    until: Compiled | None = None
    object_name: Template | None = None
    retry_when: Compiled | None = None
    cases: tuple[tuple[str, Compiled], ...] = ()
    items: Template | None = None
    uses: Mapping[str, str] = field(default_factory=dict)
    outputs_used: frozenset[str] = frozenset()
    params_used: frozenset[str] = frozenset()
    uses_target: bool = False
    outputs_matter: bool = False
    each: str = ""
    high: bool = False

    @property
    def timeout(self) -> timedelta:
        """How long the step may take, all attempts together, where ``timed``."""
        return self.spec.timeout if self.spec.timeout is not None else DEFAULT_TIMEOUT

    @property
    def timed(self) -> bool:
        """Whether its timeout counts: an approval has its expiry, a duration is its own end."""
        match self.kind:
            case Kind.ACTION:
                return True
            case Kind.WAIT:
                return self.until is not None
            case Kind.WORKFLOW | Kind.SWITCH | Kind.FOR_EACH:
                return self.spec.timeout is not None
            case _:
                return False

    @property
    def hangs(self) -> bool:
        """Whether its decision hangs on more than the run's parameters."""
        return self.when is not None or bool(self.outputs_used) or self.uses_target


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric that has to be as expected after the act."""

    name: str
    query: Template
    expect: Compiled


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run follows.

    Attributes:
        steps: all steps that there may be, in topological order; those of a template stand behind their group.
        groups: names (or patterns) of the groups that have steps of their own.
        high: the actions of high risk among them.
        outputs: what the run as a whole gives.
        triggers: what starts runs without a person.
        metrics: what has to be as expected beside the target.
    """

    spec: WorkflowSpec
    steps: tuple[PlannedStep, ...]
    target_name: Template
    expect: tuple[Compiled, ...]
    outputs: tuple[tuple[str, Template], ...] = ()
    groups: frozenset[str] = frozenset()
    high: frozenset[str] = frozenset()
    triggers: tuple[PlannedTrigger, ...] = ()
    metrics: tuple[PlannedMetric, ...] = ()

    @property
    def timeout(self) -> timedelta:
        return self.spec.timeout
