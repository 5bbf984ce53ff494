"""Actions on releases of Helm."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.releases.helm_rollback import HelmRollback
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (HelmRollback(finished),)
