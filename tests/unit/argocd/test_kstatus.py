"""What Flux and others that go by kstatus make of our kinds, on the objects that Argo CD's scripts are tried on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cel_expr_python import cel

from kubernaut.api.crd import KINDS
from unit.argocd.customizations import FOLDER, ROOT, run, stored

CASES = [(kind.name, path) for kind in KINDS for path in stored(kind.name)]
SAYS = {"Healthy": "Current", "Degraded": "Failed", "Progressing": "InProgress", "Suspended": "InProgress"}
# kstatus knows Ready, Reconciling, Stalled and generations, and nothing else. Where Argo CD's script says more:
OTHERWISE = {
    # Whatever has no status yet is current; Flux' expressions in docs/argocd.md say otherwise.
    ("Workflow", "new"): "Current",
    ("WorkflowExecution", "new"): "Current",
    ("DiscoveredPattern", "new"): "Current",
    # Runs can start; that they can do nothing, or are not to start, is told by other fields.
    ("Workflow", "without-rights"): "Current",
    ("Workflow", "undone"): "Current",
    ("Workflow", "draft"): "Current",
    ("DiscoveredPattern", "muted"): "Current",
    ("DiscoveredPattern", "vanished"): "Current",
    ("DiscoveredPattern", "off"): "Current",
    # It never becomes Ready, but nobody has to do anything.
    ("WorkflowExecution", "self-healed"): "Failed",
    # Nobody looks at a run that is over.
    ("WorkflowExecution", "commented"): "InProgress",
}


def kstatus(obj: dict[str, Any]) -> str:
    """Return what kstatus (sigs.k8s.io/cli-utils) computes for a kind that it does not know."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != meta["generation"]:
        return "InProgress"
    for condition in status.get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    ready = next((one["status"] for one in status.get("conditions") or [] if one["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"


@pytest.mark.parametrize(("kind", "path"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_kstatus_and_argo_cd_agree_but_where_it_is_said_why(kind: str, path: Path) -> None:
    obj = yaml.safe_load(path.read_text())
    health = run((FOLDER / kind / "health.lua").read_text(), obj)["status"]
    assert kstatus(obj) == OTHERWISE.get((kind, path.stem), SAYS[health])


def test_what_is_said_to_differ_differs() -> None:
    for kind, name in OTHERWISE:
        obj = yaml.safe_load((FOLDER / kind / "testdata" / f"{name}.yaml").read_text())
        assert OTHERWISE[kind, name] != SAYS[run((FOLDER / kind / "health.lua").read_text(), obj)["status"]]


def test_what_is_deleted_is_terminating() -> None:
    assert kstatus({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}) == "Terminating"


@pytest.mark.parametrize(("kind", "path"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_whoever_waits_for_a_run_learns_its_end(kind: str, path: Path) -> None:
    """A run is over, and says so in the conditions that kubectl wait is told to wait for, or is neither."""
    status = yaml.safe_load(path.read_text()).get("status") or {}
    told = {one["type"]: one["status"] for one in status.get("conditions") or []}
    if kind != "WorkflowExecution":
        assert told.get("Ready") in (("False",) if "Stalled" in told else (None, "True"))
        return
    over = "finishedAt" in status
    assert ("Succeeded" in told) is over
    assert (told.get("Ready") == "True") is (told.get("Succeeded") == "True")
    assert (told.get("Stalled") == "True") is (told.get("Succeeded") == "False")
    assert ("Reconciling" in told) is (bool(told) and not over)


# The expressions for Flux


def expressions() -> dict[str, dict[str, str]]:
    """Return the health checks that docs/argocd.md gives for Flux, by kind."""
    text = (ROOT / "docs/argocd.md").read_text()
    (block,) = re.findall(r"^```yaml\n(healthCheckExprs:\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {one["kind"]: one for one in yaml.safe_load(block)["healthCheckExprs"]}


def flux(checks: dict[str, str], obj: dict[str, Any]) -> str:
    """Return what Flux makes of an object: in this order, and in progress where a field is not there yet."""
    env = cel.NewEnv(variables=dict.fromkeys(("metadata", "spec", "status"), cel.Type.DYN))
    data = {name: obj[name] for name in ("metadata", "spec", "status") if name in obj}
    for name, status in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        value = env.compile(checks[name]).eval(data=data)
        if value.type() == cel.Type.ERROR:
            return "InProgress"
        if value.value():
            return status
    return "InProgress"


@pytest.mark.parametrize("path", stored("Workflow"), ids=lambda path: path.stem)
def test_with_the_expressions_for_flux_a_new_workflow_is_not_current(path: Path) -> None:
    obj = yaml.safe_load(path.read_text())
    wanted = "InProgress" if path.stem == "new" else kstatus(obj)
    assert flux(expressions()["Workflow"], obj) == wanted
