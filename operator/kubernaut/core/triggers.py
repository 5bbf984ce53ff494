"""Which alerts start which Workflows, and with what parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cel_expr_python import cel

from kubernaut.api.triggers import LABEL_NAME, AlertMatcher, AlertTrigger, MatchType
from kubernaut.api.workflow import Parameter, ParameterType, WorkflowSpec, parse_parameter
from kubernaut.core.errors import KubernautError, StepError
from kubernaut.core.expressions import AlertScope, ExpressionInvalid, Language, Template, template

#: the label that names an alert
ALERTNAME: Final = "alertname"
_FITS: Final = {
    ParameterType.STRING: {"STRING", "DYN"},
    ParameterType.INTEGER: {"STRING", "INT", "UINT", "DYN"},
    ParameterType.NUMBER: {"STRING", "INT", "UINT", "DOUBLE", "DYN"},
    ParameterType.BOOLEAN: {"STRING", "BOOL", "DYN"},
}


class PatternInvalid(KubernautError):
    """A regular expression is none, or none that RE2 knows."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as Alertmanager tells it.

    Attributes:
        starts_at: RFC 3339.
        generator: where its rule can be seen, a URL.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    fingerprint: str
    starts_at: str
    generator: str = ""

    @property
    def name(self) -> str:
        """Its alertname; empty where it has none."""
        return self.labels.get(ALERTNAME, "")

    def scope(self, owner: Mapping[str, str] | None = None) -> AlertScope:
        """Return what parameters of a trigger see of it."""
        return AlertScope(
            {
                "name": self.name,
                "labels": dict(self.labels),
                "annotations": dict(self.annotations),
                "startsAt": self.starts_at,
                "fingerprint": self.fingerprint,
                "generatorURL": self.generator,
            },
            owner or {},
        )


class Pattern:
    """A regular expression that has to fit the whole text.

    By CEL's ``matches``, which is RE2: the time it takes grows with the text alone, whatever a person wrote.
    """

    _env: Any = None

    def __init__(self, text: str) -> None:
        """Compile it.

        Raises:
            PatternInvalid: it is no regular expression of RE2.
        """
        if Pattern._env is None:
            Pattern._env = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING})
        self._expression = Pattern._env.compile("text.matches(pattern)")
        # By itself first: one that closes the group which anchors it would be another.
        self._anchored = text
        self.fits("")
        self._anchored = f"^(?s:{text})$"

    def fits(self, text: str) -> bool:
        """Whether it fits the whole text.

        Raises:
            PatternInvalid: it is no regular expression of RE2.
        """
        activation = Pattern._env.Activation({"text": text, "pattern": self._anchored})
        found = self._expression.eval(activation)
        if found.type() == cel.Type.ERROR:
            raise PatternInvalid(str(found.value()).splitlines()[0])
        return bool(found.plain_value())


@functools.lru_cache(maxsize=4096)
def pattern(text: str) -> Pattern:
    """Return the compiled pattern; raises PatternInvalid."""
    return Pattern(text)


@dataclass(frozen=True, slots=True)
class PlannedTrigger:
    """A trigger with everything compiled.

    Attributes:
        names: alertnames that alone can fit; None where any could.
        uses_owner: whether a parameter looks at the owner of what the alert is about.
    """

    position: int
    alert: AlertTrigger
    parameters: Mapping[str, Template]
    names: frozenset[str] | None
    cooldown_seconds: float

    @property
    def uses_owner(self) -> bool:
        return any(one.uses_owner for value in self.parameters.values() for one in value.expressions)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels starts a run."""
        return all(labels.get(name, "") == value for name, value in self.alert.match_labels.items()) and all(
            _holds(one, labels.get(one.name, "")) for one in self.alert.matchers
        )

    def values(self, alert: Alert, owner: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the parameters of a run for this alert, as texts.

        Raises:
            StepError: ExpressionFailed, where a label is not there or a value is no text, number or truth value.
        """
        scope = alert.scope(owner)
        return {name: _text(name, value.render(scope)) for name, value in self.parameters.items()}


def _holds(matcher: AlertMatcher, value: str) -> bool:
    if matcher.match_type in (MatchType.EQUAL, MatchType.NOT_EQUAL):
        return (value == matcher.value) is (matcher.match_type is MatchType.EQUAL)
    return pattern(matcher.value).fits(value) is (matcher.match_type is MatchType.REGEXP)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise StepError(f"parameter {name!r} would be a {type(value).__name__}; string() makes a text of it")


Found = tuple[str, str, bool]


def compile_triggers(spec: WorkflowSpec) -> tuple[tuple[PlannedTrigger, ...], list[Found]]:
    """Compile the triggers of a Workflow.

    Returns:
        the triggers, and what is wrong with them: path, message, and whether it is an expression that is wrong.
    """
    problems: list[Found] = []
    planned: list[PlannedTrigger] = []
    declared = {one.name: one for one in spec.parameters}
    language = Language.of_alerts() if spec.triggers else None
    for at, trigger in enumerate(spec.triggers):
        assert language is not None
        path = f"spec.triggers[{at}]"
        for where, one in enumerate(trigger.alert.matchers):
            if one.match_type in (MatchType.REGEXP, MatchType.NOT_REGEXP):
                try:
                    pattern(one.value)
                except PatternInvalid as error:
                    where_told = f"{path}.alert.matchers[{where}].value"
                    problems.append(
                        (where_told, f"{one.value!r} is no regular expression (RE2): {error}.", False)
                    )
        for name in trigger.alert.match_labels:
            if not re.match(LABEL_NAME, name):
                told = "a label's name has letters, digits and underscores, and does not begin with a digit."
                problems.append((f"{path}.alert.matchLabels.{name}", told, False))
        values: dict[str, Template] = {}
        for name, value in trigger.parameters.items():
            found = _parameter(language, f"{path}.parameters.{name}", declared.get(name), name, value, spec)
            if isinstance(found, Template):
                values[name] = found
            else:
                problems.append(found)
        lacking = [
            one.name
            for one in spec.parameters
            if one.required and one.default is None and one.name not in trigger.parameters
        ]
        if lacking:
            told = f"the trigger gives no value to the required parameter {', '.join(lacking)}."
            problems.append((f"{path}.parameters", told, False))
        planned.append(
            PlannedTrigger(at, trigger.alert, values, _names(trigger.alert), trigger.cooldown.total_seconds())
        )
    return tuple(planned), problems


def _parameter(
    language: Language, path: str, declared: Parameter | None, name: str, value: str, spec: WorkflowSpec
) -> Template | Found:
    """Compile one value of a trigger, or return what is wrong with it."""
    if declared is None:
        known = ", ".join(one.name for one in spec.parameters) or "none"
        return path, f"the Workflow declares no parameter {name!r}; it declares: {known}.", False
    try:
        made = template(language, value)
    except ExpressionInvalid as error:
        return path, f"{value!r}: {error}.", True
    if not made.expressions:
        try:
            parse_parameter(declared, made.tree)
        except ValueError as error:
            return path, f"{error}.", False
        return made
    if declared.type is ParameterType.SECRET:
        told = "a parameter of type secret is given as a literal NAME/KEY here: no alert may choose a Secret."
        return path, told, False
    kind = made.expressions[0].type_name
    if kind not in _FITS[declared.type]:
        return path, f"{value!r} gives {kind}, but parameter {name!r} is of type {declared.type.value}.", True
    return made


def _names(alert: AlertTrigger) -> frozenset[str] | None:
    equal: Iterable[str] = (
        one.value
        for one in alert.matchers
        if one.name == ALERTNAME and one.match_type is MatchType.EQUAL and one.value
    )
    found = {*equal, *filter(None, [alert.match_labels.get(ALERTNAME)])}
    return frozenset(found) or None
