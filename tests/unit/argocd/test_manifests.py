"""The Applications and projects: they install what the chart has, in an order, and fight with nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.api.crd import KINDS
from kubernaut.api.names import FINALIZER
from kubernaut.api.rbac import ANALYST_RULES, OPERATOR_RULES
from kubernaut.core.ports import Manifest, ObjectRef
from unit.argocd.customizations import ROOT
from unit.argocd.recording import RECORDERS
from unit.engine.world import EngineCluster

FOLDER = ROOT / "manifests/argocd"
GOLDEN = ROOT / "tests/golden/chart"
CHART = ROOT / "charts/kubernaut"
WAVE = "argocd.argoproj.io/sync-wave"
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def ours() -> dict[tuple[str, str], dict[str, Any]]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return {
        (one["kind"], one["metadata"]["name"]): one for name in listed for one in documents(FOLDER / name)
    }


def group(manifest: dict[str, Any]) -> str:
    version: str = manifest["apiVersion"]
    return version.split("/")[0] if "/" in version else ""


def allowed(project: str, field: str) -> set[tuple[str, str]]:
    return {(one["group"], one["kind"]) for one in ours()["AppProject", project]["spec"][field]}


def test_the_project_allows_what_the_chart_installs_and_no_more() -> None:
    rendered = [one for path in GOLDEN.glob("*.yaml") for one in documents(path)]
    cluster = {(group(one), one["kind"]) for one in rendered if "namespace" not in one["metadata"]}
    inside = {(group(one), one["kind"]) for one in rendered if "namespace" in one["metadata"]}
    made = {("apiextensions.k8s.io", "CustomResourceDefinition"), ("", "Namespace")}
    assert allowed("kubernaut", "clusterResourceWhitelist") == cluster | made
    # The Job is the one that runs before the release is deleted.
    assert allowed("kubernaut", "namespaceResourceWhitelist") == inside | {("batch", "Job")}


def test_a_tenant_may_have_nothing_synced_that_gives_rights() -> None:
    assert allowed("kubernaut-workflows", "clusterResourceWhitelist") == set()
    assert {kind for _, kind in allowed("kubernaut-workflows", "namespaceResourceWhitelist")} == {
        "Workflow",
        "WorkflowExecution",
    }


def test_each_application_may_go_where_its_project_says() -> None:
    applications = [one for (kind, _), one in ours().items() if kind == "Application"]
    assert len(applications) == 2
    for one in applications:
        project = ours()["AppProject", one["spec"]["project"]]["spec"]
        assert one["spec"]["source"]["repoURL"] in project["sourceRepos"]
        assert one["spec"]["destination"] in project["destinations"]
        assert "ServerSideApply=true" in one["spec"]["syncPolicy"]["syncOptions"]


def test_projects_come_first_then_the_operator_then_workflows() -> None:
    waves = {
        name: int(one["metadata"]["annotations"][WAVE]) for (_, name), one in ours().items() if wave(one)
    }
    assert waves == {"kubernaut": 0, "kubernaut-workflows": -1, "shop-workflows": 1}
    assert wave(ours()["AppProject", "kubernaut"]) == "-1"


def wave(manifest: dict[str, Any]) -> str:
    found: str = (manifest["metadata"].get("annotations") or {}).get(WAVE, "")
    return found


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_policies_are_there_before_what_runs(path: Path) -> None:
    for one in documents(path):
        assert wave(one) == ("-1" if one["kind"] in POLICIES else ""), one["metadata"]["name"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kinds_are_there_before_what_runs(kind: Any) -> None:
    text = (CHART / f"templates/crds/{kind.plural}.yaml").read_text()
    assert f"    {WAVE}: '-1'\n" in text.split("\nspec:\n")[0]


def test_the_values_are_those_of_the_chart() -> None:
    known = yaml.safe_load((CHART / "values.yaml").read_text())
    given = ours()["Application", "kubernaut"]["spec"]["source"]["helm"]["valuesObject"]
    assert set(given) <= set(known)


# Nobody is permanently out of sync


def test_the_rights_let_nobody_of_ours_write_a_workflow() -> None:
    writes = {
        (resource, verb)
        for rule in (*OPERATOR_RULES, *ANALYST_RULES)
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if resource in ("workflows", "discoveredpatterns") and verb not in ("get", "list", "watch")
    }
    # The analyst makes patterns; what people write into them is theirs.
    assert writes == {("discoveredpatterns", "create")}


@pytest.mark.looptime
@pytest.mark.parametrize("kind", ["Workflow", "WorkflowExecution"])
async def test_the_operator_writes_no_field_that_git_declares(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of our kinds: the status, and of a run its finalizer; so nothing is to be set back, and nothing is."""
    patch, written = EngineCluster.patch, []

    async def watched(self: EngineCluster, ref: ObjectRef, body: Manifest, **more: Any) -> Manifest:
        if ref.kind in ("Workflow", "WorkflowExecution"):
            written.append(body)
        return await patch(self, ref, body, **more)

    monkeypatch.setattr(EngineCluster, "patch", watched)
    for recorder in RECORDERS[kind].values():
        await recorder()
    assert written
    for body in written:
        assert set(body) <= {"status", "metadata"}
        meta = body.get("metadata", {})
        assert set(meta) <= {"finalizers", "resourceVersion"}
        assert set(meta.get("finalizers", ())) <= {FINALIZER}
