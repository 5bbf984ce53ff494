"""Actions on replicated Postgres, by the conventions of CloudNativePG and of Patroni."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.databases.failover_database import FailoverDatabase
from kubernaut.actions.databases.repair_database import RepairDatabase
from kubernaut.actions.fencing import fence
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (FailoverDatabase(finished), RepairDatabase())
