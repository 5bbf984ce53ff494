"""Actions that look and change nothing."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.diagnosis.collect_diagnostics import CollectDiagnostics
from kubernaut.actions.fencing import fence
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (CollectDiagnostics(),)
