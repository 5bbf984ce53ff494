"""The actions that exist: the built-in ones, and those of installed packages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from kubernaut.actions import (
    configuration,
    databases,
    diagnosis,
    generic,
    jobs,
    network,
    nodes,
    outside,
    releases,
    storage,
    workloads,
)
from kubernaut.actions.fencing import fence
from kubernaut.actions.run_workflow import StartRun
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Action, ActionParameters
from kubernaut.core.errors import KubernautError, StepError

GROUP: Final = "kubernaut.actions"
_NEEDED: Final = (
    *("name", "summary", "risk", "idempotency", "parameters", "outputs"),
    *("rights", "prepare", "perform", "undo", "looks_at", "probe"),
)


FAMILIES: Final = (
    workloads,
    jobs,
    nodes,
    network,
    configuration,
    storage,
    databases,
    diagnosis,
    generic,
    outside,
    releases,
)


class ActionInvalid(KubernautError):
    """An installed package offers something under the entry point that is not an action."""


def builtin(finished: fence.Finished = fence.never) -> tuple[Action[Any], ...]:
    """Return the actions of this package."""
    return tuple(action for family in FAMILIES for action in family.actions(finished))


def internal() -> tuple[Action[Any], ...]:
    """Return the actions behind other kinds of steps; no step can name them."""
    return (StartRun(),)


class ActionRegistry:
    """All actions by name; it is the ``core.plan.Catalogue`` that plans are compiled with.

    Third parties add actions as entry points of the group ``kubernaut.actions``: a class without required
    arguments, or an instance, that is a ``core.action.Action``.
    """

    def __init__(self, *, finished: fence.Finished = fence.never, installed: bool = True) -> None:
        """Gather the actions.

        Args:
            finished: says of which runs the markers may be pruned by the next run that writes the object.
            installed: whether actions of other installed packages are loaded too.

        Raises:
            ActionInvalid: an installed action can't be loaded, is none, or takes a name that is taken.
        """
        self._actions: dict[str, Action[Any]] = {action.name: action for action in builtin(finished)}
        self._internal: dict[str, Action[Any]] = {action.name: action for action in internal()}
        for point in entry_points(group=GROUP) if installed else ():
            self._add(point)

    def _add(self, point: EntryPoint) -> None:
        try:
            found = point.load()
            action = found() if isinstance(found, type) else found
        except Exception as error:
            raise ActionInvalid(f"action {point.name} ({point.value}) can't be loaded: {error}") from error
        lacks = [part for part in _NEEDED if not hasattr(action, part)]
        parameters = getattr(action, "parameters", None)
        if lacks or not (isinstance(parameters, type) and issubclass(parameters, ActionParameters)):
            what = ", ".join(lacks) or "a parameter model that is an ActionParameters"
            raise ActionInvalid(f"action {point.name} ({point.value}) is not an action: it lacks {what}")
        if action.name in self._actions or action.name in self._internal:
            raise ActionInvalid(f"action {point.name} ({point.value}): the name {action.name} is taken")
        self._actions[action.name] = action

    def __iter__(self) -> Iterator[Action[Any]]:
        return (self._actions[name] for name in self.names())

    def __len__(self) -> int:
        return len(self._actions)

    def names(self) -> tuple[str, ...]:
        """Return the names, sorted."""
        return tuple(sorted(self._actions))

    def find(self, name: str) -> Action[Any] | None:
        """Return the action of this name, or None."""
        return self._actions.get(name)

    def internal(self, name: str) -> Action[Any]:
        """Return an action behind another kind of step; ``find`` does not know these.

        Raises:
            KeyError: there is none of this name: a defect.
        """
        return self._internal.get(name) or self._actions[name]

    def suggest(self, name: str) -> str | None:
        """Return the known name nearest to an unknown one, or None where none is near."""
        return next(iter(difflib.get_close_matches(name.lower().replace("-", "_"), self._actions, n=1)), None)

    def get(self, name: str) -> Action[Any]:
        """Return the action of this name.

        Raises:
            StepError: UnknownAction, with the nearest name.
        """
        action = self.find(name)
        if action is None:
            near = self.suggest(name)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(self.names())}"
            raise StepError(f"there is no action {name!r}; {hint}", reason=Reason.UNKNOWN_ACTION)
        return action

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON schema of an action's parameters, as written under ``with``.

        Raises:
            StepError: UnknownAction.
        """
        schema: dict[str, Any] = self.get(name).parameters.model_json_schema(by_alias=True)
        return schema
