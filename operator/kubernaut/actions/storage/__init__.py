"""Actions on volumes, and on what takes room without being of use."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.storage.backup_data import BackupData
from kubernaut.actions.storage.cleanup_storage import CleanupStorage
from kubernaut.actions.storage.expand_pvc import ExpandPvc
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        BackupData(),
        CleanupStorage(),
        ExpandPvc(finished),
    )
