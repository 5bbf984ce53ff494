"""What a replay needs of a run is kept without secrets, and a content in which one was hidden is none any more."""

from __future__ import annotations

from typing import Any

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash
from kubernaut.history.facts import content_of, facts_of


def a_spec(**headers: str) -> WorkflowSpec:
    step: dict[str, Any] = {
        "name": "call",
        "action": "http_request",
        "with": {"url": "https://x", "headers": headers},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return WorkflowSpec.from_wire({"serviceAccountName": "repair", "target": target, "steps": [step]})


def test_a_content_without_secrets_is_kept_as_it_is() -> None:
    spec = a_spec(accept="text/plain")
    assert content_hash(WorkflowSpec.from_wire(content_of(spec))) == content_hash(spec)


def test_a_literal_secret_in_a_content_is_hidden_and_shows_in_its_hash() -> None:
    for name, value in (
        ("authorization", "geheim-1"),
        ("x-note", "password=geheim-2"),
        ("x-api-key", "geheim-3"),
    ):
        spec = a_spec(**{name: value})
        kept = content_of(spec)
        assert "geheim" not in str(kept)
        assert content_hash(WorkflowSpec.from_wire(kept)) != content_hash(spec)


def test_references_to_secrets_and_expressions_stay() -> None:
    spec = a_spec(authorization="=params.header", cookie="name/key")
    assert content_of(spec) == spec.wire()


def test_answers_are_kept_without_who_gave_them_and_without_secrets() -> None:
    control = {
        "approvals": [
            {
                "step": "ask",
                "decision": "Approve",
                "by": "anna@example.com",
                "reason": "looks right",
                "parameters": [{"name": "replicas", "value": "3"}, {"name": "password", "value": "geheim"}],
            }
        ],
        "interventions": [{"step": "do", "attempt": 2, "remedy": "Retry", "by": "anna@example.com"}],
        "cancel": True,
    }
    run = WorkflowExecution.model_validate(
        {
            "metadata": {"name": "run", "namespace": "shop"},
            "spec": {"workflowRef": {"name": "flow"}, "control": control},
            "status": {"verifySince": "2026-03-15T12:00:00Z", "highRisk": ["drain_node"]},
        }
    )
    assert facts_of(run) == {
        "approvals": [
            {"step": "ask", "decision": "Approve", "parameters": {"replicas": "3", "password": "***"}}
        ],
        "interventions": [{"step": "do", "attempt": 2, "remedy": "Retry"}],
        "migrated": False,
        "depth": 0,
        "verifySince": "2026-03-15T12:00:00.000000Z",
        "highRisk": ["drain_node"],
    }
