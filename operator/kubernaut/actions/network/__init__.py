"""Actions on what leads traffic to pods, and what keeps it from them."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.network.fix_service_selector import FixServiceSelector
from kubernaut.actions.network.update_network_policy import UpdateNetworkPolicy
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        FixServiceSelector(finished),
        UpdateNetworkPolicy(finished),
    )
