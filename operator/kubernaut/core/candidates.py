"""What the values of a Workflow may be in a run, as far as that is known before there is one.

An expression that hangs on anything but known parameters gives UNKNOWN. A parameter of an action that is unknown has
every value that its type allows, where these are few: the rights of all of them together are what may be needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from kubernaut.core.errors import KubernautError, StepError
from kubernaut.core.expressions import INDEX, ITEM, Compiled, Scope
from kubernaut.core.plan import Plan, PlannedStep

# From the private use area of Unicode: no name, kind or group can hold it, and no change of case changes it.
UNKNOWN: Final = "\ue000"
_RUN: Final = dict.fromkeys(("uid", "namespace", "name", "outcome", "verdict"), UNKNOWN)
_MOST_ITEMS: Final = 200
_MOST_CANDIDATES: Final = 256


class Unclear(KubernautError):
    """What a step acts on can't be known before a run; says why."""


def known(value: Any) -> bool:
    """Whether nothing in a value is unknown."""
    if isinstance(value, str):
        return UNKNOWN not in value
    if isinstance(value, Mapping):
        return all(known(key) and known(one) for key, one in value.items())
    return not isinstance(value, list | tuple) or all(map(known, value))


class Values:
    """The values of a Workflow's expressions, given some of its parameters."""

    def __init__(self, plan: Plan, params: Mapping[str, Any]) -> None:
        self._params = params
        self._steps = {step.name: step for step in plan.steps}

    def render(self, node: Any, more: Mapping[str, Any]) -> Any:
        """Return a template's tree with every expression evaluated, or UNKNOWN in its place."""
        if isinstance(node, Compiled):
            return self._evaluate(node, more)
        if isinstance(node, Mapping):
            return {key: self.render(child, more) for key, child in node.items()}
        if isinstance(node, list):
            return [self.render(child, more) for child in node]
        return node

    def _evaluate(self, expression: Compiled, more: Mapping[str, Any]) -> Any:
        if expression.steps or expression.uses_target or not expression.params <= self._params.keys():
            return UNKNOWN
        try:
            return expression.evaluate(Scope(self._params, {}, _RUN, None, more))
        except StepError:
            # It sees what is not there yet, such as the item of a selection.
            return UNKNOWN

    def items(self, each: str) -> Sequence[Mapping[str, Any]]:
        """Return what the steps of a forEach see beside all others, for each of its items as far as known."""
        if not each:
            return ({},)
        step = self._steps[each]
        if step.items is None:
            return ({ITEM: {"name": UNKNOWN, "uid": UNKNOWN}},)
        found: list[Mapping[str, Any]] = []
        for outer in self.items(step.each):
            items = self.render(step.items.tree, outer)
            if not isinstance(items, list) or len(found) + len(items) > _MOST_ITEMS:
                return ({},)
            found += [{ITEM: item, INDEX: at} for at, item in enumerate(items)]
        return found


class Candidates:
    """The parameters that a step's action may be given."""

    def __init__(self, step: PlannedStep, values: Values) -> None:
        assert step.action is not None
        self._model = step.action.parameters
        self._step = step
        self._values = values

    def of(self, more: Mapping[str, Any]) -> Iterator[Any]:
        """Yield parameter models whose rights together are what may be needed.

        Raises:
            Unclear: the values known are no parameters of the action, or too much is unknown.
        """
        tree = self._step.with_.tree if self._step.with_ is not None else {}
        given = self._values.render(tree, more)
        required = (
            info.alias or name
            for name, info in self._model.model_fields.items()
            if info.is_required() and (info.alias or name) not in given
        )
        # What the engine itself adds, such as the name of a run that is started.
        given |= dict.fromkeys(required, UNKNOWN)
        if known(given):
            try:
                yield self._model.model_validate(given)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise Unclear(f"with.{where}: {first['msg']}") from None
            return
        yield from _combined(self._model, given)


def _combined(model: type[BaseModel], given: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a model for each combination of what its fields may be; not validated, for it holds what is unknown."""
    choices: dict[str, Sequence[Any]] = {}
    for name, info in model.model_fields.items():
        alias = info.alias or name
        if alias in given:
            choices[name] = _choices(model, name, given[alias])
    for count, combination in enumerate(itertools.product(*choices.values())):
        if count == _MOST_CANDIDATES:
            raise Unclear(f"more than {_MOST_CANDIDATES} combinations of its parameters are possible")
        yield model.model_construct(**dict(zip(choices, combination, strict=True)))


def _choices(model: type[BaseModel], name: str, value: Any) -> Sequence[Any]:
    """Return the values that a field may have, typed as in a validated model."""
    if isinstance(value, str) and value == UNKNOWN:
        return _domain(model.model_fields[name].annotation) or (UNKNOWN,)
    try:
        return (_adapter(model, name).validate_python(value),)
    except ValidationError:
        return _possible(model.model_fields[name].annotation, value)


def _possible(annotation: Any, value: Any) -> Sequence[Any]:
    """Return what a value that holds something unknown may be, in models, maps and lists at any depth."""
    if isinstance(value, str):
        return (_domain(annotation) or (UNKNOWN,)) if value == UNKNOWN else (value,)
    if isinstance(value, Mapping):
        inner = _model_in(annotation)
        return tuple(_combined(inner, value)) if inner else (value,)
    if isinstance(value, list):
        items = [_possible(_item_of(annotation), one) for one in value]
        # One more than may be: then whoever combines them says that there are too many.
        return tuple(itertools.islice(itertools.product(*items), _MOST_CANDIDATES + 1))
    return (value,)


def _item_of(annotation: Any) -> Any:
    """Return the type of a sequence's items, also where the sequence is optional or annotated."""
    if get_origin(annotation) in (tuple, list):
        return get_args(annotation)[0]
    return next((found for one in get_args(annotation) if (found := _item_of(one)) is not None), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)


@lru_cache(maxsize=1024)
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """Return what validates one field alone; making it takes milliseconds."""
    info = model.model_fields[name]
    annotation: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return TypeAdapter(annotation)


def _domain(annotation: Any) -> tuple[Any, ...]:
    """Return all values of a type that has few of them; nothing for any other."""
    if annotation is bool:
        return (False, True)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(annotation)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _domain(get_args(annotation)[0])
    inner = get_args(annotation)
    if NoneType in inner:
        found = [_domain(one) for one in inner if one is not NoneType]
        return (None, *itertools.chain(*found)) if all(found) else ()
    return ()
