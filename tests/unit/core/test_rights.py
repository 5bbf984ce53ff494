"""What a Workflow's account needs, from the plan alone."""

from __future__ import annotations

from typing import Any

import pytest

from builders import WorkflowBuilder, a_workflow, steps
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.guards import GitOpsMode, Guards
from kubernaut.core.compiling import compile_plan
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Right
from kubernaut.core.rights import (
    BOUNDING,
    BUDGETS,
    PAUSES,
    TARGET,
    VERIFY,
    Needs,
    Weight,
    guarded,
    kinds,
    needed,
)
from kubernaut.core.rules import merged

REGISTRY = ActionRegistry(installed=False)
CONTROLLERS = {Right("get", "apps", name) for name in ("daemonsets", "replicasets", "statefulsets")}
GET_WEB = Right("get", "apps", "deployments", ("web",))


def needs(workflow: WorkflowBuilder, **params: Any) -> Needs:
    return needed(compile_plan(workflow.spec(), REGISTRY), params)


def of(found: Needs, by: str, *weights: Weight) -> set[Right]:
    return {
        need.right for need in found.needs if need.by == by and need.weight in (weights or (Weight.MUST,))
    }


def note(name: str = "tell") -> WorkflowBuilder:
    return a_workflow().step(name, "notify_only", with_={"message": "hello"})


def test_every_run_reads_its_target_by_its_name() -> None:
    found = needs(note())
    assert of(found, TARGET) == {GET_WEB}
    assert len(found.needs) == 1


def test_a_name_that_hangs_on_a_parameter_is_any_name_until_the_parameter_is_given() -> None:
    workflow = note().parameter("app", required=True).target_name("=params.app")
    assert of(needs(workflow), TARGET) == {Right("get", "apps", "deployments")}
    assert of(needs(workflow, app="web"), TARGET) == {GET_WEB}


def test_a_default_is_no_name_because_a_run_may_give_another() -> None:
    workflow = note().parameter("app", default="web").target_name("=params.app")
    assert of(needs(workflow), TARGET) == {Right("get", "apps", "deployments")}


def test_a_step_on_the_target_needs_it_by_name() -> None:
    found = needs(a_workflow().step("fix", "restart_deployment"))
    assert of(found, "fix") == {GET_WEB, Right("patch", "apps", "deployments", ("web",))}


def test_a_step_whose_object_hangs_on_an_output_needs_any() -> None:
    workflow = a_workflow().step("look", "collect_diagnostics")
    workflow.step("fix", "restart_deployment", "look", with_={"name": "=steps.look.outputs.summary"})
    assert of(needs(workflow), "fix") == {Right(verb, "apps", "deployments") for verb in ("get", "patch")}


def test_a_name_that_is_put_together_with_the_runs_is_no_name() -> None:
    workflow = a_workflow().step("fix", "restart_deployment", with_={"name": "='web-' + run.name"})
    assert of(needs(workflow), "fix") == {Right(verb, "apps", "deployments") for verb in ("get", "patch")}


def test_the_verification_watches_the_target_which_is_not_demanded() -> None:
    found = needs(note().verify("target.status.readyReplicas > 0"))
    watch = {Right(verb, "apps", "deployments", ("web",)) for verb in ("list", "watch")}
    assert of(found, VERIFY, Weight.EASES) == watch
    assert of(found, VERIFY) == set()


def test_a_wait_reads_and_watches_what_it_waits_for() -> None:
    database = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}
    found = needs(a_workflow().wait("ready", until="object.status.readyReplicas > 0", object_=database))
    assert of(found, "ready") == {Right("get", "apps", "statefulsets", ("db",))}
    watch = {Right(verb, "apps", "statefulsets", ("db",)) for verb in ("list", "watch")}
    assert of(found, "ready", Weight.EASES) == watch


def test_a_wait_for_a_while_needs_nothing() -> None:
    assert of(needs(a_workflow().wait("settle", "5s")), "settle", *Weight) == set()


def test_a_wait_on_the_target_watches_it() -> None:
    found = needs(a_workflow().wait("ready", until="target.status.readyReplicas > 0"))
    watch = {Right(verb, "apps", "deployments", ("web",)) for verb in ("list", "watch")}
    assert of(found, "ready", *Weight) == watch


def test_the_items_of_a_literal_list_are_names() -> None:
    body = steps().step("restart", "restart_deployment", with_={"name": "=item"})
    workflow = a_workflow().each("each", items=["web", "cache"]).template("one", body)
    assert of(needs(workflow), "each/#/restart") == {
        Right(verb, "apps", "deployments", (name,)) for verb in ("get", "patch") for name in ("web", "cache")
    }


def test_one_item_that_is_not_known_makes_it_any_name() -> None:
    body = steps().step("restart", "restart_deployment", with_={"name": "=item"})
    workflow = a_workflow().parameter("app").each("each", items=["web", "=params.app"]).template("one", body)
    rights = merged(needs(workflow).needs)
    assert [rule.names for rule in rules_on(rights, "patch")] == [()]


def rules_on(rules: Any, verb: str) -> list[Any]:
    return [rule for rule in rules if verb in rule.verbs]


def test_a_selection_lists_the_kind_and_its_steps_act_on_any_of_it() -> None:
    body = steps().step("restart", "restart_pod", with_={"name": "=item.name"})
    found = needs(a_workflow().each("each", select="app=web").template("one", body))
    assert of(found, "each") == {Right("list", "", "pods")}
    assert of(found, "each/#/restart") == {Right("get", "", "pods"), Right("create", "", "pods/eviction")}


LISTS_AUTOSCALERS = Right("list", "autoscaling", "horizontalpodautoscalers")


@pytest.mark.parametrize(
    ("action", "with_", "scaled"),
    [
        ("restore_last_known_good", {}, True),
        ("restore_last_known_good", {"kind": "StatefulSet", "name": "db"}, True),
        ("restore_last_known_good", {"kind": "=params.kind", "name": "web"}, True),
        ("restore_last_known_good", {"kind": "ConfigMap", "name": "settings"}, False),
        ("restore_last_known_good", {"kind": "DaemonSet", "name": "agent"}, False),
        ("helm_rollback", {"release": "shop"}, True),
        ("helm_rollback", {"release": "shop", "kinds": [{"apiVersion": "v1", "kind": "ConfigMap"}]}, False),
        (
            "helm_rollback",
            {"release": "shop", "kinds": [{"apiVersion": "example.com/v1", "kind": "Rollout"}]},
            True,
        ),
        ("patch_resource", {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, True),
        ("patch_resource", {"apiVersion": "v1", "kind": "ConfigMap", "name": "web"}, False),
    ],
)
def test_who_may_write_replicas_needs_to_see_autoscalers(
    action: str, with_: dict[str, Any], scaled: bool
) -> None:
    """What a patch holds that is an expression shows only in a run."""
    if action == "patch_resource":
        with_ = {**with_, "patch": {"spec": "=steps.look.outputs"}}
    workflow = a_workflow().parameter("kind", required=True).step("look", "collect_diagnostics")
    found = of(needs(workflow.step("fix", action, "look", with_=with_)), "fix")
    assert (LISTS_AUTOSCALERS in found) is scaled


def test_a_subflow_creates_finds_cancels_and_follows_a_run_and_does_not_need_what_that_does() -> None:
    found = needs(a_workflow().subflow("repair", "other"))
    runs = {Right(verb, "kubernaut.io", "workflowexecutions") for verb in ("create", "get", "patch")}
    assert of(found, "repair") == runs
    watch = {Right(verb, "kubernaut.io", "workflowexecutions") for verb in ("list", "watch")}
    assert of(found, "repair", Weight.EASES) == watch


def test_steps_under_finally_in_branches_and_in_alternates_need_theirs_too() -> None:
    fix = steps().step("fix", "scale_deployment", with_={"replicas": 1})
    workflow = (
        a_workflow().switch("decide", {"big": "params.app == 'x'"}).template("big", fix).parameter("app")
    )
    workflow.step("try", "restart_deployment", onFailure="Alternate", alternate="other")
    workflow.template("other", steps().step("back", "rollback_deployment"))
    found = needs(workflow.last(steps().step("look", "collect_diagnostics")))
    assert Right("list", "autoscaling", "horizontalpodautoscalers") in of(found, "decide/big/fix")
    assert Right("list", "apps", "replicasets") in of(found, "try/alternate/back")
    assert Right("get", "", "pods/log") in of(found, "look")


def test_a_choice_that_is_not_known_needs_what_any_of_its_values_does() -> None:
    workflow = (
        a_workflow()
        .parameter("how")
        .step("fix", "restart_pod", with_={"name": "web-1", "method": "=params.how"})
    )
    assert of(needs(workflow), "fix") == {
        Right("get", "", "pods", ("web-1",)),
        Right("create", "", "pods/eviction", ("web-1",)),
        Right("delete", "", "pods", ("web-1",)),
    }
    assert of(needs(workflow, how="delete"), "fix") == {
        Right("get", "", "pods", ("web-1",)),
        Right("delete", "", "pods", ("web-1",)),
    }


def test_a_flag_that_is_off_needs_less() -> None:
    workflow = a_workflow().step("look", "collect_diagnostics", with_={"logs": False, "events": False})
    assert of(needs(workflow), "look") == {GET_WEB, Right("list", "", "pods")}


def patching(patch: Any, kind: str = "Deployment") -> WorkflowBuilder:
    with_ = {"apiVersion": "apps/v1", "kind": kind, "name": "web", "patch": patch}
    return a_workflow().parameter("level").step("fix", "patch_resource", with_=with_)


SECRETS = {Right("create", "", "secrets"), Right("get", "", "secrets")}


@pytest.mark.parametrize(
    ("patch", "must", "perhaps"),
    [
        ({"spec": {"replicas": 2}}, False, False),
        ({"spec": {"replicas": "=params.level"}}, False, False),
        ({"spec": {"paused": None}}, False, True),
        ({"spec": {"template": {"spec": {"containers": []}}}}, False, True),
        ({"data": {"password": "=params.level"}}, True, False),
    ],
)
def test_secrets_are_needed_where_a_patch_holds_one_and_perhaps_where_it_replaces_what_is_not_known(
    patch: Any, must: bool, perhaps: bool
) -> None:
    found = needs(patching(patch))
    assert (of(found, "fix") >= SECRETS) is must
    assert (of(found, "fix", Weight.PERHAPS) >= SECRETS) is (perhaps or False)


def test_a_kind_that_hangs_on_an_expression_is_told_not_guessed() -> None:
    workflow = patching({"spec": {}})
    workflow._spec["steps"][0]["with"]["kind"] = "=params.level"
    found = needs(workflow)
    assert found.unclear == (("fix", "which kind it acts on hangs on an expression"),)
    assert of(found, "fix") == set()
    assert of(needs(workflow, level="DaemonSet"), "fix") == {
        Right(verb, "apps", "daemonsets", ("web",)) for verb in ("get", "patch")
    }


def test_parameters_that_fit_no_action_are_told() -> None:
    workflow = (
        a_workflow()
        .parameter("n", "integer")
        .step("fix", "scale_deployment", with_={"replicas": "=params.n"})
    )
    assert needs(workflow, n=-5).unclear[0][0] == "fix"


def test_names_of_resources_are_corrected_also_below_an_object() -> None:
    found = needs(a_workflow().step("fix", "restart_pod", with_={"name": "a"}))
    other = found.corrected({("", "pods"): "podz"})
    assert {need.right.resource for need in other.needs if need.by == "fix"} == {"podz", "podz/eviction"}


def test_kinds_are_those_that_the_workflow_names() -> None:
    database = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}
    workflow = patching({}, "DaemonSet").wait("w", until="true", object_=database)
    workflow._spec["steps"][0]["with"]["patch"] = {"spec": {}}
    plan = compile_plan(workflow.spec(), REGISTRY)
    assert kinds(plan) == {("apps/v1", kind) for kind in ("Deployment", "DaemonSet", "StatefulSet")}


def test_a_name_that_is_not_known_within_a_map_is_any_name() -> None:
    workflow = a_workflow().parameter("app", required=True)
    workflow.step(
        "fix",
        "fix_service_selector",
        with_={"name": "api", "workload": {"kind": "StatefulSet", "name": "=params.app"}},
    )
    assert of(needs(workflow), "fix") == {
        Right("get", "", "services", ("api",)),
        Right("patch", "", "services", ("api",)),
        Right("get", "apps", "statefulsets"),
        Right("list", "", "pods"),
    }


def unknown(value: Any) -> Any:
    """Return a value whose texts, at any depth, are not known before a run."""
    if isinstance(value, dict):
        return {key: unknown(one) for key, one in value.items()}
    if isinstance(value, list):
        return [unknown(one) for one in value]
    return "=params.app" if isinstance(value, str) else value


@pytest.mark.parametrize("name", REGISTRY.names())
def test_the_rights_of_every_action_can_be_told_or_are_said_to_hang_on_what_is_not_known(name: str) -> None:
    example = getattr(REGISTRY.get(name), "example", {})
    workflow = a_workflow().parameter("app", required=True).step("fix", name, with_=unknown(example))
    assert "Error" not in str(needs(workflow).unclear)


def test_kinds_are_those_of_applied_manifests_too() -> None:
    manifest = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}}
    plan = compile_plan(
        a_workflow().step("a", "apply_manifest", with_={"manifest": manifest}).spec(), REGISTRY
    )
    assert ("example.com/v1", "Thing") in kinds(plan)


def test_what_pausing_a_sync_needs_is_said_to_show_only_then() -> None:
    spec = note().spec()
    pausing = spec.replace(guards=Guards(git_ops=GitOpsMode.PAUSE_SYNC))
    assert needed(compile_plan(pausing, REGISTRY)).unclear == (("guards.gitOps", PAUSES),)
    assert needed(compile_plan(spec, REGISTRY)).unclear == ()


def test_what_is_counted_before_pods_are_removed_is_read_and_a_target_that_selects_them_is_read_anyway() -> (
    None
):
    share = Guards(max_unavailable_percent=25)
    pod = a_workflow().set(target={"apiVersion": "v1", "kind": "Pod", "name": "web-1"})
    restart = pod.step("fix", "restart_pod", with_={"name": "web-1"})
    assert of(needs(restart), BOUNDING) == set()
    assert of(needed(compile_plan(restart.spec().replace(guards=share), REGISTRY)), BOUNDING) == CONTROLLERS
    restart = a_workflow().step("fix", "restart_pod", with_={"name": "web-1"})
    assert of(needed(compile_plan(restart.spec().replace(guards=share), REGISTRY)), BOUNDING) == set()


def test_guards_of_wider_levels_count_as_the_workflows_own_do() -> None:
    wide = Level(Reach.NAMESPACE, "shop", Guards(max_unavailable_percent=25))
    node = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
    drain = a_workflow().set(target=node).step("drain", "drain_node")
    assert of(guarded(needs(drain), [wide], "Node"), BOUNDING) == CONTROLLERS
    cordon = a_workflow().set(target=node).step("cordon", "cordon_node")
    assert of(guarded(needs(cordon), [wide], "Node"), BOUNDING) == set()


def test_a_pod_that_is_deleted_under_budgets_has_its_eviction_tried() -> None:
    budgets = Guards(respect_budgets=True)
    with_ = {"apiVersion": "v1", "kind": "Pod", "name": "web-1"}
    delete = a_workflow().step("delete", "delete_resource", with_=with_)
    assert of(needs(delete), BUDGETS) == set()
    found = needed(compile_plan(delete.spec().replace(guards=budgets), REGISTRY))
    assert of(found, BUDGETS) == {Right("create", "", "pods/eviction")}
