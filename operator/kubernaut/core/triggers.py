"""Which alerts start which Workflows, and with what parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cel_expr_python import cel

from kubernaut.api.triggers import LABEL_NAME, AlertTrigger
from kubernaut.api.workflow import Parameter, ParameterType, WorkflowSpec, parse_parameter
from kubernaut.core.errors import KubernautError, StepError
from kubernaut.core.expressions import AlertScope, ExpressionInvalid, Language, Template, template

#: the label that names an alert
ALERTNAME: Final = "alertname"
MOST_NAME: Final = 253
_FITS: Final = {
    ParameterType.STRING: {"STRING", "DYN"},
    ParameterType.INTEGER: {"STRING", "INT", "UINT", "DYN"},
    ParameterType.NUMBER: {"STRING", "INT", "UINT", "DOUBLE", "DYN"},
    ParameterType.BOOLEAN: {"STRING", "BOOL", "DYN"},
}


# As Alertmanager writes matchers: https://prometheus.io/docs/alerting/latest/configuration/#matcher
_MATCHER: Final = re.compile(
    r"""\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<how>=~|!~|!=|=)\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<bare>[^"\s]*))\s*""",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class PatternInvalid(KubernautError):
    """A regular expression is none, or none that RE2 knows."""


class MatcherInvalid(KubernautError):
    """A condition on a label is none; says what is wrong."""


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
        """Its alertname, as far as it is kept; ``-`` where it has none."""
        return self.labels.get(ALERTNAME, "")[:MOST_NAME] or "-"

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
class Matcher:
    """A condition on one label; a label that is not there counts as empty, as with Alertmanager.

    Attributes:
        how: ``=``, ``!=``, ``=~`` or ``!~``.
    """

    name: str
    how: str
    value: str

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for an alert with these labels."""
        found = labels.get(self.name, "")
        same = found == self.value if self.how in ("=", "!=") else pattern(self.value).fits(found)
        return same is (self.how in ("=", "=~"))


def matcher(text: str) -> Matcher:
    """Return the condition that a text says.

    Raises:
        MatcherInvalid: it says none, or its regular expression is none.
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise MatcherInvalid(f'{text!r} is no matcher; write it as in severity=~"warning|critical"')
    quoted = found["quoted"]
    plain = {"n": "\n"}
    value = found["bare"] if quoted is None else _ESCAPED.sub(lambda one: plain.get(one[1], one[1]), quoted)
    made = Matcher(found["name"], found["how"], value)
    if made.how in ("=~", "!~"):
        try:
            pattern(value)
        except PatternInvalid as error:
            raise MatcherInvalid(f"{value!r} is no regular expression (RE2): {error}") from None
    return made


@dataclass(frozen=True, slots=True)
class PlannedTrigger:
    """A trigger with everything compiled.

    Attributes:
        names: alertnames that alone can fit; None where any could.
        uses_owner: whether a parameter looks at the owner of what the alert is about.
    """

    position: int
    match_labels: Mapping[str, str]
    matchers: tuple[Matcher, ...]
    parameters: Mapping[str, Template]
    names: frozenset[str] | None
    cooldown: timedelta

    @property
    def uses_owner(self) -> bool:
        return any(one.uses_owner for value in self.parameters.values() for one in value.expressions)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels starts a run."""
        return all(labels.get(name, "") == value for name, value in self.match_labels.items()) and all(
            one.holds(labels) for one in self.matchers
        )

    def values(self, alert: Alert, owner: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the parameters of a run for this alert, as texts.

        Raises:
            StepError: ExpressionFailed, where a label is not there or a value is no text, number or truth value.
        """
        scope = alert.scope(owner)
        return {name: _text(name, value.render(scope)) for name, value in self.parameters.items()}


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
        matchers: list[Matcher] = []
        for where, text in enumerate(trigger.alert.matchers):
            try:
                matchers.append(matcher(text))
            except MatcherInvalid as error:
                problems.append((f"{path}.alert.matchers[{where}]", f"{error}.", False))
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
        names = _names(trigger.alert, matchers)
        planned.append(
            PlannedTrigger(at, trigger.alert.match_labels, tuple(matchers), values, names, trigger.cooldown)
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


def _names(alert: AlertTrigger, matchers: Iterable[Matcher]) -> frozenset[str] | None:
    equal = (one.value for one in matchers if one.name == ALERTNAME and one.how == "=" and one.value)
    found = {*equal, *filter(None, [alert.match_labels.get(ALERTNAME)])}
    return frozenset(found) or None
