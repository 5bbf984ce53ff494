"""Guards: what keeps a run from acting now, or has a person asked first.

The same fields are understood at three levels: in a Workflow, for a namespace, for the cluster. Every level holds by
itself, so a level can only make the others stricter.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, StringConstraints, model_validator

from kubernaut.api.base import UNQUOTED, ApiModel, DnsLabel, Flag
from kubernaut.api.duration import DAY_LONGEST, DayDuration, Duration
from kubernaut.api.markers import ListMap, ListSet, Rule

#: the record of the approval that guards ask for; no step of a Workflow can have this path
GUARD_APPROVAL: Final = "guards/approval"
#: the longest time that a guard looks back: runs are remembered no longer
LONGEST: Final = DAY_LONGEST
WAIT_AT_MOST: Final = timedelta(hours=1)

Clock = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", max_length=5)]
Date = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", max_length=10)
]
TimeZone = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", max_length=64)
]
NamespacePattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-a-z0-9]*\*?$", max_length=63)]
LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", min_length=1, max_length=317
    ),
]
LabelValue = Annotated[str, StringConstraints(max_length=253)]
AlertName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class ApprovalPolicy(StrEnum):
    """When a person has to approve before a run changes anything."""

    NEVER = "Never"
    ALWAYS = "Always"
    ON_RISK = "OnRisk"
    BY_POLICY = "ByPolicy"


class GitOpsMode(StrEnum):
    """What becomes of a change to a field that another manager would set back."""

    REFUSE = "Refuse"
    ACT = "Act"
    PAUSE_SYNC = "PauseSync"
    PROPOSE = "Propose"


class Resume(StrEnum):
    """When a paused sync goes on."""

    AT_EXPIRY = "AtExpiry"
    AT_RUN_END = "AtRunEnd"


class Day(StrEnum):
    """A day of the week."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class WindowType(StrEnum):
    """Whether changes are made within a window, or outside it."""

    OPEN = "Open"
    CLOSED = "Closed"


class ChangeWindow(ApiModel):
    """A time that comes again, by the clock on the wall of its time zone."""

    name: DnsLabel
    """Name of the window, as in business-hours; refusals tell it."""
    type: WindowType = WindowType.OPEN
    """Open: changes are made only within open windows. Closed: never within this one."""
    time_zone: TimeZone = "UTC"
    """IANA name of the time zone, as in Europe/Berlin."""
    days: Annotated[list[Day], Field(min_length=1, max_length=7), ListSet()] | None = None
    """The days on which it begins; unset, every day."""
    start: Clock = "00:00"
    """When it begins."""
    end: Clock = "24:00"
    """When it ends; not later than start means on the next day."""
    first_date: Date | None = None
    """The first date on which it begins, as in 2026-12-20."""
    last_date: Date | None = None
    """The last date on which it begins."""


class AlertMatch(ApiModel):
    """An alert by its name and labels."""

    alert: AlertName
    """Its alertname."""
    match_labels: Annotated[dict[str, LabelValue], Field(max_length=8)] = Field(default_factory=dict)
    """Labels that it has too; others do not matter."""


class ProtectedLabel(ApiModel):
    """A label by which an object says that it is not to be changed."""

    key: LabelKey
    """The label's key."""
    value: LabelValue | None = None
    """Its value; unset, any."""


class Storm(ApiModel):
    """When so many runs begin that something larger is wrong, and no more of them shall begin for a while."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("duration(self.within) <= duration(self.cooldown)", "cooldown is at least within", ".cooldown"),
    )

    runs: Annotated[int, Field(ge=1, le=10_000), UNQUOTED]
    """So many runs may begin in the time of within; they begin the storm, and the next ones wait."""
    within: DayDuration = timedelta(minutes=5)
    """The time in which runs are counted."""
    cooldown: DayDuration = timedelta(minutes=15)
    """How long no more begin."""

    @model_validator(mode="after")
    def _cooldown_covers_the_window(self) -> Self:
        if self.within > self.cooldown:
            raise ValueError(self.cel_rules[0].message)
        return self


class Breaker(ApiModel):
    """After how many bad ends actions of high risk need an approval."""

    bad_runs: Annotated[int, Field(ge=1, le=100), UNQUOTED] = 3
    """So many runs with the action that ended badly."""
    within: DayDuration = timedelta(hours=24)
    """The time in which they ended."""


class PauseSync(ApiModel):
    """How long the sync of an Application, Kustomization or HelmRelease is paused."""

    expires_after: DayDuration = timedelta(hours=1)
    """How long at most, whatever becomes of the run and of the operator."""
    resume: Resume = Resume.AT_EXPIRY
    """When it goes on; a run that left nothing changed lets it go on when it ends."""


class Oscillation(ApiModel):
    """When a change of ours counts as undone by another manager, and how long it is not made again."""

    within: DayDuration = timedelta(minutes=10)
    """How soon after the change it was set back."""
    cooldown: DayDuration = timedelta(hours=1)
    """How long the same fields are not changed again, since they were set back."""


class Guards(ApiModel):
    """What has to hold before a run changes anything."""

    cooldown: DayDuration | None = None
    """How long after the end of a run the next one on the same target waits."""
    max_per_hour: Annotated[int, Field(ge=1, le=1000), UNQUOTED] | None = None
    """How many runs may begin on the same target in any hour."""
    max_unavailable_percent: Annotated[int, Field(ge=0, le=100), UNQUOTED] | None = None
    """A step changes something only while at most this share of replicas is unavailable, and takes down no more."""
    change_windows: Annotated[list[ChangeWindow], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list
    )
    """When changes may be made, and when not."""
    stop_while_firing: Annotated[list[AlertMatch], Field(max_length=8), ListMap("alert")] = Field(
        default_factory=list
    )
    """Alerts while which nothing is begun."""
    storm: Storm | None = None
    protected_namespaces: Annotated[list[NamespacePattern], Field(max_length=64), ListSet()] = Field(
        default_factory=list
    )
    """Namespaces in which nothing is changed; a * at the end stands for anything."""
    protected_labels: Annotated[list[ProtectedLabel], Field(max_length=16), ListMap("key")] = Field(
        default_factory=list
    )
    """Objects that have one of these labels are not changed."""
    respect_budgets: Flag = False
    """Pods are deleted only where a PodDisruptionBudget would let them be evicted; evictions always ask it."""
    approval: ApprovalPolicy | None = None
    """When a person is asked first; the strictest of all levels counts."""
    breaker: Breaker | None = None
    git_ops: GitOpsMode | None = None
    """What to do where Argo CD, Flux or an autoscaler would set a field back; Refuse unless set."""
    pause_sync: PauseSync | None = None
    oscillation: Oscillation | None = None
    wait_at_most: Duration | None = None
    """How long a run waits for its guards before it is declined; 1h unless set."""
