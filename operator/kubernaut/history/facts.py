"""What a replay of a run needs beside its record: answers, interventions, times, and the content of its Workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.api.base import format_time
from kubernaut.api.execution import ApprovalRecord, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec, is_secret_reference
from kubernaut.core import redacting


def kept(name: str, text: str) -> str:
    """Return a parameter as the history keeps it: a secret by its reference alone, as NAME/KEY."""
    secret = redacting.named_secret(name) and not is_secret_reference(text)
    return redacting.HIDDEN if secret else text


def facts_of(run: WorkflowExecution) -> dict[str, Any]:
    """Return what of a run's object a replay needs; who answered, and what they wrote, is left out."""
    spec, status = run.spec, run.status
    control = spec.control
    facts: dict[str, Any] = {
        "approvals": [_answer(one) for one in control.approvals],
        "interventions": [
            {"step": one.step, "attempt": one.attempt, "remedy": one.remedy.value}
            for one in control.interventions
        ],
        "migrated": control.migrate_to is not None,
        "depth": spec.parent.depth if spec.parent else 0,
    }
    if status is not None:
        times = {
            "verifySince": status.verify_since,
            "healthySince": status.healthy_since,
            "rollbackSince": status.rollback_since,
        }
        facts |= {name: format_time(at) for name, at in times.items() if at is not None}
        facts["highRisk"] = list(status.high_risk or ())
        if status.metrics:
            facts["metrics"] = [one.wire() for one in status.metrics]
        if status.target is not None:
            facts["targetApiVersion"] = status.target.api_version
    return facts


def content_of(spec: WorkflowSpec) -> dict[str, Any]:
    """Return a Workflow's content as it is kept: what is called a secret, or looks like one, is hidden."""
    return _hidden(spec.wire())  # type: ignore[no-any-return]


def _answer(answer: ApprovalRecord) -> dict[str, Any]:
    given = {value.name: kept(value.name, value.value) for value in answer.parameters}
    return {"step": answer.step, "decision": answer.decision.value, "parameters": given}


def _hidden(node: Any, name: str = "") -> Any:
    if isinstance(node, Mapping):
        return {key: _hidden(value, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_hidden(value, name) for value in node]
    if not isinstance(node, str):
        return node
    if node.startswith("=") and not node.startswith("=="):
        return redacting.redacted(node)
    return redacting.redacted(kept(name, node))
