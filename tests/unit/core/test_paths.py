"""Records of steps are found in the Workflow by their paths."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.paths import DeclaredSteps, items_below


def act(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "action": action, **more}


SPEC = WorkflowSpec.model_validate(
    {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "onFailure": "Alternate",
        "alternate": "give-up",
        "steps": [
            act("first", "collect_diagnostics"),
            {"name": "each", "forEach": {"items": ["a", "b"], "template": "one"}},
            {
                "name": "decide",
                "switch": {
                    "cases": [
                        {"name": "low", "when": "false", "template": "one"},
                        {"name": "high", "when": "true", "template": "nested"},
                    ],
                    "default": "one",
                },
            },
            act("move", "scale_deployment", onFailure="Alternate", alternate="one"),
        ],
        "templates": [
            {"name": "one", "steps": [act("note", "notify_only"), act("restart", "restart_pod")]},
            {
                "name": "nested",
                "steps": [{"name": "inner", "forEach": {"items": ["a"], "template": "one"}}],
            },
            {"name": "give-up", "steps": [act("tell", "notify_only")]},
        ],
        "finally": [act("clean", "patch_resource")],
    }
)


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("first", "collect_diagnostics"),
        ("each/1/restart", "restart_pod"),
        ("decide/low/restart", "restart_pod"),
        ("decide/default/note", "notify_only"),
        ("decide/high/inner/0/restart", "restart_pod"),
        ("move/alternate/restart", "restart_pod"),
        ("alternate/tell", "notify_only"),
        ("finally/clean", "patch_resource"),
    ],
)
def test_a_path_leads_to_its_step(path: str, action: str) -> None:
    found = DeclaredSteps(SPEC).find(path)
    assert found is not None
    assert found.step.action == action


@pytest.mark.parametrize(
    "path",
    [
        *("", "stranger", "each/x/restart", "each/0", "each/0/stranger", "decide/other/note", "first/0/note"),
        *(
            "move/alternate",
            "alternate",
            "alternate/stranger",
            "finally",
            "finally/stranger",
            "clean",
            "a//b",
        ),
    ],
)
def test_what_the_workflow_does_not_declare_is_not_found(path: str) -> None:
    assert DeclaredSteps(SPEC).find(path) is None


def test_steps_stand_in_the_order_of_the_workflow_and_items_in_that_of_their_numbers() -> None:
    told = [
        "first",
        "each",
        "each/2/restart",
        "each/10/note",
        "each/10/restart",
        "decide",
        "decide/low/note",
        "decide/high/inner",
        "decide/high/inner/0/note",
        "decide/default/note",
        "move",
        "move/alternate/note",
        "alternate/tell",
        "finally/clean",
    ]
    steps = DeclaredSteps(SPEC)
    orders = [found.order for path in told if (found := steps.find(path))]
    assert len(orders) == len(told)
    assert orders == sorted(orders)


def test_items_are_counted_by_the_steps_that_they_have() -> None:
    paths = ["each", "each/0/note", "each/0/restart", "each/1/note", "decide/high/inner/0/note", "first"]
    assert items_below(paths) == {"each": 2, "decide/high/inner": 1}
