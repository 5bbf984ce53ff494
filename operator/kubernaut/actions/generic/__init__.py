"""Actions for whatever there is no other for."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.generic.apply_manifest import ApplyManifest
from kubernaut.actions.generic.delete_resource import DeleteResource
from kubernaut.actions.generic.notify_only import NotifyOnly
from kubernaut.actions.generic.patch_resource import PatchResource
from kubernaut.actions.generic.remove_newcomer import RemoveNewcomer
from kubernaut.actions.generic.restore_last_known_good import RestoreLastKnownGood
from kubernaut.actions.generic.select_objects import SelectObjects
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        ApplyManifest(finished),
        DeleteResource(),
        NotifyOnly(),
        PatchResource(finished),
        RemoveNewcomer(finished),
        RestoreLastKnownGood(finished),
        SelectObjects(),
    )
