"""Actions on what workloads are configured with."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.configuration.restore_configmap import RestoreConfigMap
from kubernaut.actions.configuration.rotate_secrets import RotateSecrets
from kubernaut.actions.fencing import fence
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        RestoreConfigMap(finished),
        RotateSecrets(finished),
    )
