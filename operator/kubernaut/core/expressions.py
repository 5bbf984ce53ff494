"""Expressions in CEL: compiled and type-checked once, evaluated many times.

What an expression can see: ``params.NAME`` (typed as declared), ``target`` (the target as the Workflow's own
account sees it), ``steps.NAME.outputs`` and ``steps.NAME.phase`` of steps it depends on, ``run.name``,
``run.namespace`` and ``run.uid``. A step whose name is not an identifier is ``steps['roll-back']``. Some places see
more: steps of a forEach ``item`` and ``index``, a wait for an object ``object``, a retry condition ``failure``, what
is expected of a metric ``value``, and steps under finally ``run.outcome`` and ``run.verdict``. Parameters of a
trigger see ``alert`` and ``owner`` alone.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cel_expr_python import cel

from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Parameter, ParameterType
from kubernaut.core.errors import KubernautError, StepError

_TYPES: Final = {
    ParameterType.STRING: cel.Type.STRING,
    ParameterType.INTEGER: cel.Type.INT,
    ParameterType.NUMBER: cel.Type.DOUBLE,
    ParameterType.BOOLEAN: cel.Type.BOOL,
    # Where it is, never what it is.
    ParameterType.SECRET: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
# Literals and comments as in CEL's grammar (cel-spec, "Lexis"): raw ones first, the long quotes before the short.
_LITERAL: Final = re.compile(
    r"""
    (?<!\w) (?:[rR][bB]?|[bB][rR]) (?: \"{3} .*? \"{3} | '{3} .*? '{3} | "[^"\n]*" | '[^'\n]*' )
    | \"{3} (?:\\.|[^\\])*? \"{3} | '{3} (?:\\.|[^\\])*? '{3}
    | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | //[^\n]*
    """,
    re.DOTALL | re.VERBOSE,
)
# A name alone, or with the leading dot that stands for the root; after an operand and a dot it is a field.
_ROOT: Final = r"(?<!\w)(?<![\w)\]}'\"]\.)"
_STEP_FIELD: Final = re.compile(_ROOT + r"steps\s*\.\s*([A-Za-z_]\w*)")
_STEP_INDEX: Final = re.compile(_ROOT + r"steps\s*\[\s*'(\d+)'\s*\]")
_STEPS: Final = re.compile(_ROOT + r"steps(?!\w)")
_TARGET: Final = re.compile(_ROOT + r"target(?!\w)")
_OWNER: Final = re.compile(_ROOT + r"owner(?!\w)")
_PARAMETER: Final = re.compile(_ROOT + r"params\.([A-Za-z_]\w*)")
# What an expression may see in some places only, with the type it has there.
ITEM: Final = "item"
INDEX: Final = "index"
OBJECT: Final = "object"
FAILURE: Final = "failure"
VALUE: Final = "value"
_MORE: Final = {
    ITEM: cel.Type.DYN,
    INDEX: cel.Type.INT,
    OBJECT: cel.Type.DYN,
    FAILURE: cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    VALUE: cel.Type.DOUBLE,
}
_TEXTS: Final = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
# What the parameters of a trigger see.
_ALERT: Final = {
    "alert.name": cel.Type.STRING,
    "alert.labels": _TEXTS,
    "alert.annotations": _TEXTS,
    "alert.startsAt": cel.Type.STRING,
    "alert.fingerprint": cel.Type.STRING,
    "alert.generatorURL": cel.Type.STRING,
    "owner": _TEXTS,
}
_NAME: Final = re.compile(r"""(["'])([a-z][-a-z0-9]*)\1""")
_COMPLAINT: Final = re.compile(r"^ERROR: .*", re.MULTILINE)
_MIXES_NUMBERS: Final = re.compile(r"'_.{1,2}_' applied to '\((?:double, int|int, double)\)'")
_COMPARES_NUMBERS: Final = re.compile(
    r"'_(?:<|<=|>|>=|==|!=)_' applied to '\((?:double, int|int, double)\)'$"
)


class ExpressionInvalid(KubernautError):
    """An expression does not compile or is not of the type its place needs."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The values an expression may see; ``target`` is None where it was not looked at."""

    params: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    run: Mapping[str, str]
    target: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def variables(self) -> dict[str, Any]:
        """Return the activation for CEL."""
        values: dict[str, Any] = {f"params.{name}": value for name, value in self.params.items()}
        values["steps"] = {name: dict(step) for name, step in self.steps.items()}
        values["run"] = dict(self.run)
        if self.target is not None:
            values["target"] = self.target
        values.update(self.more)
        return values


class Variables(Protocol):
    """The values that an expression may see."""

    def variables(self) -> dict[str, Any]:
        """Return the activation for CEL."""
        ...


@dataclass(frozen=True, slots=True)
class AlertScope:
    """What the parameters of a trigger see: the alert, and the owner of what it is about."""

    alert: Mapping[str, Any]
    owner: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, Any]:
        """Return the activation for CEL."""
        return {**{f"alert.{name}": value for name, value in self.alert.items()}, "owner": dict(self.owner)}


class Compiled:
    """One compiled expression.

    Attributes:
        text: as written, without a leading ``=``.
        steps: names of the steps it refers to, as written.
        params: names of the parameters it refers to.
        uses_target: whether it looks at the target.
        uses_owner: whether it looks at the owner of what an alert is about.
        type_name: CEL's name of the result type, such as BOOL or DYN.
    """

    __slots__ = ("_env", "_expression", "params", "steps", "text", "type_name", "uses_owner", "uses_target")

    def __init__(self, env: Any, text: str) -> None:
        self.text = text
        self._env = env
        try:
            self._expression = env.compile(text)
        except RuntimeError as error:
            raise ExpressionInvalid(_reason_of(str(error))) from error
        self.type_name: str = self._expression.return_type().name()
        bare, literals = _without_literals(text)
        self.steps = _steps_of(bare, literals)
        self.params = frozenset(_PARAMETER.findall(bare))
        self.uses_target = bool(_TARGET.search(bare))
        self.uses_owner = bool(_OWNER.search(bare))

    def evaluate(self, scope: Variables) -> Any:
        """Return the value as plain JSON.

        Raises:
            StepError: ExpressionFailed, with the expression and what it met.
        """
        try:
            value = self._expression.eval(self._env.Activation(scope.variables()))
            if value.type() == cel.Type.ERROR:
                raise RuntimeError(str(value.value()))
            plain = value.plain_value()
            if not _is_json(plain):
                # What an expression gives may be a secret, so only its type is told.
                raise ValueError(f"it gives {_kind(plain)}, which is not JSON; string() makes a text of it")
            return plain
        except (RuntimeError, TypeError, ValueError) as error:
            raise StepError(
                f"expression {self.text!r} failed: {_reason_of(str(error))}", reason=Reason.EXPRESSION_FAILED
            ) from None

    def holds(self, scope: Variables) -> bool:
        """Return the truth of a condition; anything but a boolean is an ExpressionFailed."""
        value = self.evaluate(scope)
        if not isinstance(value, bool):
            raise StepError(
                f"expression {self.text!r} gave {_kind(value)}, not true or false",
                reason=Reason.EXPRESSION_FAILED,
            )
        return value


class Language:
    """The CEL environment of one place in a Workflow: its parameters, and what this place sees beside them."""

    def __init__(self, parameters: Sequence[Parameter], *more: str) -> None:
        """Make the environment; ``more`` are of ITEM, INDEX, OBJECT, FAILURE and VALUE."""
        variables = {"steps": cel.Type.Map(cel.Type.STRING, cel.Type.DYN), "target": cel.Type.DYN}
        variables["run"] = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
        variables.update({name: _MORE[name] for name in more})
        for parameter in parameters:
            optional = not parameter.required and parameter.default is None
            variables[f"params.{parameter.name}"] = cel.Type.DYN if optional else _TYPES[parameter.type]
        self._variables = variables
        self._env = cel.NewEnv(variables=variables)

    @classmethod
    def of_alerts(cls) -> Language:
        """Return the language of a trigger's parameters: ``alert`` and ``owner``, nothing of a run."""
        made = cls.__new__(cls)
        made._variables = dict(_ALERT)
        made._env = cel.NewEnv(variables=made._variables)
        return made

    def value(self, text: str) -> Compiled:
        """Compile an expression of any type.

        Raises:
            ExpressionInvalid: it does not compile.
        """
        try:
            return Compiled(self._env, text)
        except ExpressionInvalid as error:
            if not _only_compares_numbers(str(error.__cause__)):
                raise
        return Compiled(self._any_number, text)

    @functools.cached_property
    def _any_number(self) -> Any:
        # 5 < 5.5 is defined (cel-spec, "Ordering"), also as the API server has it; this checker refuses what is known
        # to be that, and takes what is not known.
        known = (cel.Type.INT, cel.Type.DOUBLE)
        open_ = {name: cel.Type.DYN if type_ in known else type_ for name, type_ in self._variables.items()}
        return cel.NewEnv(variables=open_)

    def condition(self, text: str) -> Compiled:
        """Compile an expression that must be true or false.

        Raises:
            ExpressionInvalid: it does not compile, or its type is known not to be a boolean.
        """
        compiled = self.value(text)
        if compiled.type_name not in ("BOOL", "DYN"):
            raise ExpressionInvalid(f"it gives {compiled.type_name}, but true or false is needed here")
        return compiled


@dataclass(frozen=True, slots=True)
class Template:
    """A value of a Workflow: literals, with CEL wherever a string begins with ``=`` (``==`` escapes)."""

    tree: Any
    expressions: tuple[Compiled, ...]
    paths: tuple[tuple[str | int, ...], ...]

    def render(self, scope: Variables) -> Any:
        """Return the value with every expression evaluated; raises StepError (ExpressionFailed)."""
        return _render(self.tree, scope)


def template(language: Language, value: Any) -> Template:
    """Compile a JSON value with expressions in it.

    Raises:
        ExpressionInvalid: with the path of the expression in the message.
    """
    found: list[Compiled] = []
    paths: list[tuple[str | int, ...]] = []

    def walk(node: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(node, Mapping):
            return {key: walk(child, (*path, key)) for key, child in node.items()}
        if isinstance(node, list):
            return [walk(child, (*path, index)) for index, child in enumerate(node)]
        if isinstance(node, str) and node.startswith("=="):
            return node[1:]
        if isinstance(node, str) and node.startswith("="):
            try:
                compiled = language.value(node[1:])
            except ExpressionInvalid as error:
                where = ".".join(map(str, path))
                raise ExpressionInvalid(f"{where}: {error}" if where else str(error)) from None
            found.append(compiled)
            paths.append(path)
            return compiled
        return node

    tree = walk(value, ())
    return Template(tree, tuple(found), tuple(paths))


def _only_compares_numbers(told: str) -> bool:
    """Whether all that a compiler says against an expression is that it compares an integer with a double."""
    complaints = _COMPLAINT.findall(told.removeprefix("INVALID_ARGUMENT: "))
    return bool(complaints) and all(_COMPARES_NUMBERS.search(one) for one in complaints)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _render(node: Any, scope: Variables) -> Any:
    if isinstance(node, Compiled):
        return node.evaluate(scope)
    if isinstance(node, dict):
        return {key: _render(child, scope) for key, child in node.items()}
    if isinstance(node, list):
        return [_render(child, scope) for child in node]
    return node


def _without_literals(text: str) -> tuple[str, list[str]]:
    """Return an expression with its literals replaced by their numbers, and the literals."""
    literals: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[0].startswith("//"):
            return " "
        literals.append(match[0])
        return f"'{len(literals) - 1}'"

    bare = _LITERAL.sub(number, text)
    # Blanks around a dot mean nothing: "a . steps" is a field of a.
    return re.sub(r"\s*\.\s*", ".", bare), literals


def _steps_of(bare: str, literals: Sequence[str]) -> frozenset[str]:
    fields = _STEP_FIELD.findall(bare)
    indexes = [_NAME.fullmatch(literals[int(number)]) for number in _STEP_INDEX.findall(bare)]
    named = [match[2] for match in indexes if match is not None]
    if len(_STEPS.findall(bare)) > len(fields) + len(named):
        raise ExpressionInvalid("steps can only be used as steps.NAME or steps['NAME']")
    return frozenset((*fields, *named))


def _reason_of(text: str) -> str:
    """Return the first line of CEL's message without its codes."""
    line = text.splitlines()[0] if text else "unknown error"
    line = re.sub(r"^[A-Z_]+: ", "", line)
    line = re.sub(r"^ERROR: <input>:1:(\d+): ", r"column \1: ", line)
    line = re.sub(r"^ERROR: <input>:(\d+):(\d+): ", r"line \1, column \2: ", line)
    line = re.sub(r" \[[A-Z_]+\]$", "", line)
    return f"{line}; write 5.0 for 5, and double() around an integer" if _MIXES_NUMBERS.search(text) else line
