"""Runs that are gone from the cluster, as the history keeps them."""

from __future__ import annotations

import re
from typing import Any, Final

from kubernaut.api.base import format_time
from kubernaut.api.execution import StepStatus, Trigger, TriggerType, WorkflowExecution
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.historic import reading_history
from kubernaut.cli.outline import Row
from kubernaut.history.database import Database
from kubernaut.history.dsn import describe
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.history.repository import Repository

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def remembered(dsn: str, namespace: str, name: str) -> RunRecord:
    """Return the newest run of this name (or the run with this uid) from the history.

    Raises:
        CliError: the history can't be reached or has no such run.
    """
    with reading_history():
        database = Database(dsn, migrating=False, connections=1)
        try:
            repository = Repository(database)
            found = await repository.run(name) if _UID.fullmatch(name) else None
            found = found or await repository.run_named(namespace, name)
        finally:
            await database.close()
    if found is None:
        raise CliError(
            f"there is no run {name!r} in namespace {namespace}, neither in the cluster nor in the history",
            f"Looked in {describe(dsn)}; check the name, and the namespace (-n).",
            Exit.NOT_FOUND,
        )
    return found


def as_run(record: RunRecord) -> tuple[WorkflowExecution, list[Row]]:
    """Return a record in the shape of the object it was made from, as far as the history keeps that.

    Raises:
        CliError: a later version wrote it, and this one can't read it.
    """
    try:
        run = WorkflowExecution.model_validate(_manifest(record))
        # Not checked: which alert it was is not kept, and the object of a run that one started has to say.
        trigger = Trigger.model_construct(
            type=TriggerType(record.trigger), by=record.trigger_by, reason=record.trigger_reason
        )
    except ValueError as error:
        where = f"run {record.namespace}/{record.name}"
        raise CliError(
            f"what the history keeps of {where} can't be read by this version of kubernaut: {error}",
            "Use the version that the operator has.",
        ) from None
    run = run.replace(spec=run.spec.replace(trigger=trigger))
    actions = {step.name: step.action or "" for step in record.steps}
    return run, [Row(step, actions[step.name]) for step in run.status.steps] if run.status else []


def _manifest(record: RunRecord) -> dict[str, Any]:
    facts = record.facts or {}
    status: dict[str, Any] = {
        "phase": record.phase,
        "verdict": record.verdict,
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "reason": record.reason or None,
        "message": record.message,
        "metrics": facts.get("metrics"),
        "verifySince": facts.get("verifySince"),
        "healthySince": facts.get("healthySince"),
        "highRisk": facts.get("highRisk"),
        "outputs": dict(record.outputs) or None,
        "steps": [_step(step) for step in record.steps],
    }
    if record.service_account and record.content_hash:
        status["workflow"] = {
            "name": record.workflow,
            "uid": "",
            "contentHash": record.content_hash,
            "snapshot": f"{record.workflow}-{record.content_hash[:10]}",
            "serviceAccountName": record.service_account,
            "revision": record.workflow_revision,
        }
    if record.target_kind and record.target_name:
        status["target"] = {
            "apiVersion": facts.get("targetApiVersion", ""),
            "kind": record.target_kind,
            "name": record.target_name,
            "uid": record.target_uid or "",
        }
    return {
        "metadata": {
            "name": record.name,
            "namespace": record.namespace,
            "uid": record.uid,
            "creationTimestamp": format_time(record.created_at),
        },
        "spec": {
            "workflowRef": {"name": record.workflow},
            "parameters": [{"name": key, "value": value} for key, value in record.parameters.items()],
            "dryRun": record.dry_run,
            "retryFrom": {"name": record.retry_from} if record.retry_from else None,
        },
        "status": status,
    }


def _step(step: StepRecord) -> StepStatus:
    return StepStatus.model_validate(
        {
            "name": step.name,
            "phase": step.phase,
            "attempt": step.attempts,
            "startedAt": step.started_at,
            "finishedAt": step.finished_at,
            "reason": step.reason or None,
            "message": step.message,
            "outputs": dict(step.outputs) or None,
            "changed": list(step.changed) or None,
        }
    )
