"""Actions on workloads and their pods."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.workloads.fix_probe import FixProbe
from kubernaut.actions.workloads.increase_resources import IncreaseResources
from kubernaut.actions.workloads.migrate_workload import MigrateWorkload
from kubernaut.actions.workloads.optimize_resources import OptimizeResources
from kubernaut.actions.workloads.quarantine_pod import QuarantinePod
from kubernaut.actions.workloads.restart import RestartDaemonSet, RestartDeployment, RestartStatefulSet
from kubernaut.actions.workloads.restart_pod import RestartPod
from kubernaut.actions.workloads.rollback import RollbackDaemonSet, RollbackDeployment, RollbackStatefulSet
from kubernaut.actions.workloads.scale import ScaleDeployment, ScaleStatefulSet
from kubernaut.actions.workloads.set_image import SetImage
from kubernaut.actions.workloads.update_hpa import UpdateHpa
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        FixProbe(finished),
        IncreaseResources(finished),
        MigrateWorkload(finished),
        OptimizeResources(finished),
        QuarantinePod(finished),
        RestartDaemonSet(finished),
        RestartDeployment(finished),
        RestartPod(),
        RestartStatefulSet(finished),
        RollbackDaemonSet(finished),
        RollbackDeployment(finished),
        RollbackStatefulSet(finished),
        ScaleDeployment(finished),
        ScaleStatefulSet(finished),
        SetImage(finished),
        UpdateHpa(finished),
    )
