"""Actions on Jobs and CronJobs."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.jobs.delete_job import DeleteJob
from kubernaut.actions.jobs.run_job import RunJob
from kubernaut.actions.jobs.suspend import ResumeCronJob, SuspendCronJob
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (
        DeleteJob(),
        ResumeCronJob(finished),
        RunJob(),
        SuspendCronJob(finished),
    )
