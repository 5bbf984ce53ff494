"""Which features a Workflow uses."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.features import Feature, used_by

ACT: dict[str, Any] = {"name": "act", "action": "restart_deployment"}


def spec(*steps: dict[str, Any], **more: Any) -> WorkflowSpec:
    given = {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "steps": list(steps or (ACT,)),
    }
    return WorkflowSpec.model_validate(given | more)


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (spec(), set()),
        (spec(onFailure="Rollback"), {Feature.ROLLBACK}),
        (spec(ACT | {"onFailure": "Rollback"}), {Feature.ROLLBACK}),
        (spec(ACT | {"retry": {"limit": 2}}), {Feature.RETRIES}),
        (spec({"name": "sub", "workflow": {"name": "other"}}), {Feature.SUBFLOWS}),
        (spec(ACT | {"resources": [{"name": "drain"}]}), {Feature.CAPACITIES}),
        (spec(priority=-3), {Feature.PRIORITIES}),
        (
            spec(
                {"name": "each", "forEach": {"items": ["a"], "template": "body"}},
                templates=[{"name": "body", "steps": [ACT | {"retry": {"limit": 1}}]}],
            ),
            {Feature.FOR_EACH, Feature.RETRIES},
        ),
        (spec(ACT, **{"finally": [{**ACT, "name": "last", "retry": {"limit": 1}}]}), {Feature.RETRIES}),
    ],
)
def test_what_it_says_itself_decides(used: WorkflowSpec, expected: set[Feature]) -> None:
    assert used_by(used) == expected
