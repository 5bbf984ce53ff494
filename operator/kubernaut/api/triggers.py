"""``spec.triggers`` of a Workflow: the alerts that start runs of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, StringConstraints, model_validator

from kubernaut.api.base import ApiModel, Value
from kubernaut.api.duration import Duration
from kubernaut.api.markers import ListSet, Rule

MAX_TRIGGERS: Final = 16
SAYS_SOMETHING: Final = (
    "an alert trigger needs matchLabels or matchers, or every alert would start the Workflow"
)

LABEL_NAME: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
Matcher = Annotated[str, StringConstraints(min_length=2, max_length=1024)]
LabelValue = Annotated[str, StringConstraints(max_length=1024)]


class AlertTrigger(ApiModel):
    """Which alerts start runs; all that is said here has to hold."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.matchLabels) && self.matchLabels.size() > 0)"
            " || (has(self.matchers) && self.matchers.size() > 0)",
            SAYS_SOMETHING,
        ),
    )

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(default_factory=dict)
    """Labels that the alert has, with these very values."""
    matchers: Annotated[list[Matcher], Field(max_length=16), ListSet()] = Field(default_factory=list)
    """Further conditions on its labels, as Alertmanager writes them: severity=~"warning|critical"."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.match_labels and not self.matchers:
            raise ValueError(SAYS_SOMETHING)
        return self


class WorkflowTrigger(ApiModel):
    """What starts runs of a Workflow without a person."""

    alert: AlertTrigger
    parameters: Annotated[dict[str, Value], Field(max_length=32)] = Field(default_factory=dict)
    """Values for parameters; a leading = makes it CEL on alert and owner, as in =alert.labels.deployment."""
    cooldown: Duration = timedelta(minutes=10)
    """How long after all its alerts were resolved an alert still belongs to the same incident, which has its run."""
