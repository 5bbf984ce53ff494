"""Argo CD's scripts, run as Argo CD runs them, in its own test format; and the ConfigMap that holds them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from kubernaut.api.crd import KINDS
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.policies import required_policies
from kubernaut.api.reasons import REASONS, Category, Reason
from kubernaut.cli.starting import manifest
from unit.argocd.customizations import FOLDER, ROOT, kept, run, stored

ACTIONS = FOLDER / "WorkflowExecution" / "actions"
CHECKS: dict[str, list[dict[str, Any]]] = {
    kind.name: yaml.safe_load((FOLDER / kind.name / "health_test.yaml").read_text())["tests"]
    for kind in KINDS
}
TESTS = yaml.safe_load((ACTIONS / "action_test.yaml").read_text())
# It has no work of its own that could fail.
NEVER = {("DiscoveredPattern", "Degraded")}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def health_of(obj: Any, kind: str = "WorkflowExecution") -> dict[str, str]:
    found: dict[str, str] = run((FOLDER / kind / "health.lua").read_text(), obj)
    return found


def act(action: str, obj: Any) -> Any:
    return run((ACTIONS / action / "action.lua").read_text(), copy.deepcopy(obj))


# Health


@pytest.mark.parametrize(
    ("kind", "check"),
    [(kind, check) for kind, checks in CHECKS.items() for check in checks],
    ids=lambda value: value["inputPath"] if isinstance(value, dict) else value,
)
def test_health_is_as_told(kind: str, check: dict[str, Any]) -> None:
    assert health_of(load(FOLDER / kind / check["inputPath"]), kind) == check["healthStatus"]


@pytest.mark.parametrize("kind", CHECKS)
def test_each_health_that_a_kind_can_have_is_told_of_something(kind: str) -> None:
    told = {check["healthStatus"]["status"] for check in CHECKS[kind]}
    wanted = {"Healthy", "Progressing", "Degraded", "Suspended"}
    assert told == {one for one in wanted if (kind, one) not in NEVER}
    assert {check["inputPath"] for check in CHECKS[kind]} == {f"testdata/{one.name}" for one in stored(kind)}


@pytest.mark.parametrize("reason", [*Reason, "OfTheFuture"], ids=str)
def test_a_run_is_suspended_where_only_a_person_lets_it_go_on(reason: str) -> None:
    obj = load(FOLDER / "WorkflowExecution/testdata/stopped.yaml")
    for condition in obj["status"]["conditions"]:
        condition["reason"] = str(reason)
    info = REASONS.get(Reason(reason)) if reason in list(Reason) else None
    person = info is not None and info.category is Category.HUMAN and info.transient
    # The only one of another category: a paused run that can't follow the revision it is to go on with.
    person = person or reason == Reason.MIGRATION_REFUSED
    assert health_of(obj)["status"] == ("Suspended" if person else "Progressing")


@pytest.mark.parametrize("kind", CHECKS)
def test_an_object_without_any_status_is_progressing(kind: str) -> None:
    obj = load(FOLDER / kind / "testdata/new.yaml")
    assert health_of(obj, kind)["status"] == "Progressing"
    assert health_of({**obj, "status": {}}, kind)["status"] == "Progressing"


def fewer(value: Any) -> Iterator[Any]:
    """Yield a value with one thing left out of it, in all ways."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: one for name, one in value.items() if name != key}
            yield from ({**value, key: one} for one in fewer(inner))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield [*value[:at], *value[at + 1 :]]
            yield from ([*value[:at], one, *value[at + 1 :]] for one in fewer(inner))


@pytest.mark.parametrize(
    ("kind", "path"),
    [(kind, path) for kind in CHECKS for path in stored(kind)],
    ids=lambda one: str(getattr(one, "stem", one)),
)
def test_whatever_a_status_lacks_its_health_is_told(kind: str, path: Path) -> None:
    obj = load(path)
    for part in ("spec", "status"):
        for less in fewer(obj.get(part)):
            found = health_of({**obj, part: less}, kind)
            assert found["status"] in ("Healthy", "Progressing", "Degraded", "Suspended")
            assert isinstance(found["message"], str)


def test_a_script_gets_no_library_that_argo_cd_does_not_open() -> None:
    for script in ("return {#string.rep('x', 2)}", "return {('x'):rep(2)}", "return {math.abs(-1)}"):
        with pytest.raises(lua51.LuaError):
            run(script, {})


# Actions


@pytest.mark.parametrize("test", TESTS["discoveryTests"], ids=lambda test: test["inputPath"])
def test_actions_are_offered_where_they_can_be_done(test: dict[str, Any]) -> None:
    found = run((ACTIONS / "discovery.lua").read_text(), load(ACTIONS / test["inputPath"]))
    assert {name: {"name": name, **rest} for name, rest in found.items()} == {
        one["name"]: one for one in test["result"]
    }


@pytest.mark.parametrize("test", TESTS["actionTests"], ids=lambda test: test["expectedOutputPath"])
def test_an_action_makes_what_is_told(test: dict[str, Any]) -> None:
    obj, expected = load(ACTIONS / test["inputPath"]), load(ACTIONS / test["expectedOutputPath"])
    made = act(test["action"], obj)
    if isinstance(made, dict):
        # Argo CD sends the difference to the object that there is, as a merge patch.
        assert kept(made, obj) == expected
        return
    assert [
        {"operation": one["k8sOperation"], "resource": one["unstructuredObj"]} for one in expected
    ] == made


@pytest.mark.parametrize("path", stored("WorkflowExecution"), ids=lambda path: path.stem)
def test_cancelling_changes_nothing_else(path: Path) -> None:
    obj = load(path)
    made = kept(act("cancel", obj), obj)
    assert made["spec"].pop("control") == {**obj["spec"].get("control", {}), "cancel": True}
    before = copy.deepcopy(obj)
    before["spec"].pop("control", None)
    assert made == before


def test_a_retry_is_the_run_that_the_command_would_start_but_for_who_starts_it() -> None:
    for name in ("failed", "with-parameters"):
        folder = FOLDER / "WorkflowExecution/testdata" if name == "failed" else ACTIONS / "testdata"
        obj = load(folder / f"{name}.yaml")
        ((made),) = [one["resource"] for one in act("retry", obj)]
        old = WorkflowExecution.from_wire(obj)
        same = manifest(
            "fix",
            "shop",
            old.given(),
            name="fix-x2k4z-retry",
            by="",
            reason="retried with Argo CD",
            dry_run=old.spec.dry_run,
            retry_from="fix-x2k4z",
        )
        read, other = WorkflowExecution.from_wire(made), WorkflowExecution.from_wire(same)
        assert (read.spec, read.metadata) == (other.spec, other.metadata)


def test_a_retry_says_nothing_that_the_policies_keep_for_others() -> None:
    ((made),) = [
        one["resource"] for one in act("retry", load(FOLDER / "WorkflowExecution/testdata/failed.yaml"))
    ]
    origin = next(
        policy for policy, _ in required_policies() if policy["metadata"]["name"].startswith("run-origin")
    )
    assert "trigger.?by" in str(origin), "the policy that keeps who starts a run has another form now"
    assert "by" not in made["spec"]["trigger"]
    assert not {"parent", "control"} & set(made["spec"])
    # It would be deleted with the run that it retries.
    assert "ownerReferences" not in made["metadata"]


def test_approving_is_no_action() -> None:
    assert {path.parent.name for path in ACTIONS.glob("*/action.lua")} == {"cancel", "retry"}
    scripts = "".join(
        line for path in ACTIONS.rglob("*.lua") for line in path.read_text().splitlines() if "--" not in line
    )
    assert "approvals" not in scripts
    assert "interventions" not in scripts


# The ConfigMap


def test_the_config_map_holds_each_script_as_it_is() -> None:
    data = load(ROOT / "manifests/argocd/argocd-cm.yaml")["data"]
    group = "resource.customizations"
    assert set(data) == {
        *(f"{group}.health.kubernaut.io_{kind.name}" for kind in KINDS),
        f"{group}.actions.kubernaut.io_WorkflowExecution",
    }
    for kind in KINDS:
        assert (
            data[f"{group}.health.kubernaut.io_{kind.name}"]
            == (FOLDER / kind.name / "health.lua").read_text()
        )
    actions = yaml.safe_load(data[f"{group}.actions.kubernaut.io_WorkflowExecution"])
    assert actions["discovery.lua"] == (ACTIONS / "discovery.lua").read_text()
    for one in actions["definitions"]:
        assert one["action.lua"] == (ACTIONS / one["name"] / "action.lua").read_text()
    assert [one["name"] for one in actions["definitions"]] == ["cancel", "retry"]
