"""The actions that this version knows, and what can be told of them without a Workflow."""

from __future__ import annotations

from functools import cache
from typing import Any

from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.action import Action
from kubernaut.core.ports import Right


@cache
def actions() -> ActionRegistry:
    """Return the catalogue; raises ActionInvalid where an installed package offers a bad one."""
    return ActionRegistry()


def rights(action: Action[Any]) -> tuple[Right, ...] | None:
    """Return the rights an action needs with its default parameters; None where they hang on parameters."""
    try:
        # Not validated: what is required is not known here.
        return action.rights(None, action.parameters.model_construct())
    except AttributeError:
        return None


def grouped(needed: tuple[Right, ...] | None) -> str:
    """Return ``get, patch deployments.apps; list replicasets.apps``."""
    if needed is None:
        return "on the object named by its parameters"
    verbs: dict[str, list[str]] = {}
    for right in needed:
        _, _, resource = str(right).partition(" ")
        verbs.setdefault(resource, []).append(right.verb)
    return "; ".join(f"{', '.join(names)} {resource}" for resource, names in verbs.items()) or "none"


def wire(action: Action[Any]) -> dict[str, Any]:
    """Return an action for programs."""
    needed = rights(action)
    return {
        "name": action.name,
        "summary": action.summary,
        "risk": action.risk.value,
        "idempotency": action.idempotency.value,
        "rights": None if needed is None else [str(right) for right in needed],
        "outputs": dict(action.outputs),
        "parameters": actions().schema(action.name),
    }
