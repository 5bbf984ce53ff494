"""Actions on nodes, which belong to no namespace."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.nodes.cordon import CordonNode, UncordonNode
from kubernaut.actions.nodes.drain import DrainNode
from kubernaut.actions.nodes.taint import TaintNode, UntaintNode
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        CordonNode(finished),
        DrainNode(finished),
        TaintNode(finished),
        UncordonNode(finished),
        UntaintNode(finished),
    )
