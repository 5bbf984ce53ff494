"""Actions that find out what ails a workload."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.diagnosis.collect_diagnostics import CollectDiagnostics
from kubernaut.actions.diagnosis.create_heap_dump import CreateHeapDump
from kubernaut.actions.diagnosis.enable_debug_mode import EnableDebugMode
from kubernaut.actions.fencing import fence
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (CollectDiagnostics(), EnableDebugMode(), CreateHeapDump())
