"""The actions that this version knows."""

from __future__ import annotations

from functools import cache

from kubernaut.actions.registry import ActionRegistry


@cache
def actions() -> ActionRegistry:
    """Return the catalogue."""
    return ActionRegistry()
