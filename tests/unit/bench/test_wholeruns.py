"""What a plain client sends for whole runs: the requests of ours, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bench.client import PlainClient, Refused
from bench.wholeruns import WholeRuns, claimed
from kubernaut.api.execution import WorkflowExecutionStatus

TESTDATA = (
    Path(__file__).parents[3]
    / "manifests/argocd/resource_customizations/kubernaut.io/WorkflowExecution/testdata"
)
ENDED = yaml.safe_load((TESTDATA / "remediated.yaml").read_text())["status"]


class Server(PlainClient):
    """Answers everything; the Deployment's first patch is refused, as if its controller had come first."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.replicas: list[int] = []
        self.statuses: list[dict[str, Any]] = []

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        what = re.sub(r".*/(workflowexecutions|deployments)(/[^/?]+)?", r"\1", path.split("?")[0])
        self.sent.append(f"{method} {what}")
        if what == "workflowexecutions/status":
            self.statuses.append(body["status"])
        if method == "PATCH" and what == "deployments":
            if len(self.sent) == 4:
                raise Refused(method, path, 409, b"")
            self.replicas.append(body["spec"]["replicas"])
        if method == "GET" and what == "workflowexecutions":
            return {"items": [{"metadata": {"name": "whole-0"}}]}
        return {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3 + len(self.replicas)}}


async def test_a_run_is_a_create_a_claim_its_patches_and_an_end() -> None:
    server = Server()
    whole = WholeRuns(server, server, 10, 0.0)
    whole.learn(2, ENDED)
    await whole._one(2, 0)
    assert server.sent == [
        "POST workflowexecutions",
        "PATCH workflowexecutions/status",
        *["GET deployments", "PATCH deployments"] * 2,
        "PATCH deployments",
        "PATCH workflowexecutions/status",
    ]
    assert server.replicas == [4, 5]
    first, last = server.statuses
    assert first["phase"] == "Running"
    assert last == ENDED


def test_what_it_claims_with_is_a_status_of_ours() -> None:
    found = WorkflowExecutionStatus.model_validate(claimed(ENDED))
    assert found.workflow is not None
    assert found.target is not None


async def test_a_round_takes_its_runs_away() -> None:
    server = Server()
    whole = WholeRuns(server, server, 10, 0.0)
    whole.learn(1, ENDED)
    await whole.measure()
    assert server.sent[-2:] == ["GET workflowexecutions", "DELETE workflowexecutions"]
    assert whole.rates[1] == [0.0]
