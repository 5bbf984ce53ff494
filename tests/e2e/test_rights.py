"""With the Role that ``kubernaut rbac`` prints, and no other right, a Workflow runs; what lacks is told before."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import yaml

from e2e.commands import command
from e2e.test_samples import SAMPLES
from e2e.websteps import acting
from e2e.world import REPAIR, Place, Run, World, condition, steps, until, web
from localrun.audit import Request

Manifest = dict[str, Any]
GIVEN = {
    "deployment": "web",
    "backend": "web",
    "frontend": "cache",
    "replicas": "2",
    "statefulset": "db",
    "autoscaler": "web",
    "service": "web",
    "cronjob": "nightly",
}
_POD = {"containers": [{"name": "app", "image": "kubernaut.local/pause:1"}]}
# What else a sample acts on.
OBJECTS: dict[str, tuple[Manifest, ...]] = {
    "stateful-bad-rollout": (
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "replicas": 2,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": _POD},
            },
        },
    ),
    "autoscaler-at-its-limit": (
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 3,
            },
        },
    ),
    "service-without-pods": (
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]},
        },
    ),
    "stuck-job": (
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "nightly"},
            "spec": {
                "schedule": "0 3 1 1 *",
                "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
            },
        },
    ),
}
# Whose rights are tried, but which can't run here: what they need besides.
ELSEWHERE = {
    "database-failover": "CloudNativePG",
    "error-rate": "a Prometheus; tests/e2e/test_metrics.py has one",
    "guarded": "the day: it acts within its change window only",
    "last-known-good": "an operator that remembers; tests/e2e/test_remembering.py has one",
    "look-inside": "a kubelet; tests/node/test_actions_debugging.py has one",
    "quiet-repair": "an Alertmanager",
    "settings-in-place": "a storage driver that makes snapshots",
}
# What more of the Role a sample needs: what it changes may be secret.
MORE = {"settings-in-place": ("--before-images",)}
# Which other Deployments a sample acts on or waits for.
OTHERS = {
    "restart-several": ("cache", "worker"),
    "tidy-up": ("maintenance",),
    "two-tiers": ("cache",),
    "wait-for-database": ("database",),
}
# What a Workflow is told of that was just written, or that lacks something for a while, is a minute old at most.
SECONDS = 75.0


def deployment(name: str) -> Manifest:
    """Return a Deployment with limits that can be raised."""
    made: Manifest = json.loads(json.dumps(web()).replace('"web"', f'"{name}"'))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["resources"] = {"limits": {"memory": "32Mi"}, "requests": {"memory": "16Mi"}}
    return made


def prepared(world: World, *others: str) -> Place:
    """Return a namespace with Deployments of two revisions each, and an account that may do nothing."""
    place = begun(world, *others)
    revise(place, *others)
    return place


def begun(world: World, *others: str) -> Place:
    """Return a namespace with Deployments that nobody has waited for yet."""
    place = world.place(deployment=False, rights=False)
    for name in ("web", *others):
        place.create("Deployment", deployment(name))
    return place


def revise(place: Place, *others: str) -> None:
    """Give each Deployment a second revision."""
    for name in ("web", *others):
        until(f"{name} has a revision", partial(_observed, place, name))
        label = {"spec": {"template": {"metadata": {"labels": {"newer": "yes"}}}}}
        place.change("Deployment", name, label)


def _observed(place: Place, name: str) -> bool:
    found = place.get("Deployment", name)
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])


def permissions(place: Place, name: str, holds: Callable[[Manifest], bool], what: str) -> Manifest:
    """Return PermissionsReady of a Workflow once this holds of it."""
    found = place.world.workflows.wait(
        (place.namespace, name),
        lambda w: (
            (told := condition(w, "PermissionsReady")) != {}
            and told.get("observedGeneration") == w["metadata"]["generation"]
            and holds(told)
        ),
        what,
        SECONDS,
    )
    return condition(found, "PermissionsReady")


def ready(place: Place, name: str, truth: str) -> Manifest:
    return permissions(place, name, lambda told: told["status"] == truth, f"PermissionsReady is {truth}")


def role(place: Place, name: str, *more: str) -> str:
    """Return what ``kubernaut rbac`` prints."""
    return command(place.world, "rbac", name, "-n", place.namespace, *more)


def apply(place: Place, text: str) -> None:
    """Apply what was printed, as a person does."""
    path = place.world.folder / f"{place.namespace}-{abs(hash(text))}.yaml"
    path.write_text(text)
    place.world.cluster.run_kubectl("apply", "-f", str(path))


def in_namespace(manifest: Manifest, place: Place) -> Manifest:
    """Return a copy of an object for a namespace."""
    made: Manifest = copy.deepcopy(manifest)
    made["metadata"]["namespace"] = place.namespace
    return made


def _revised(place: Place) -> bool:
    path = f"/apis/apps/v1/namespaces/{place.namespace}/controllerrevisions"
    return bool(place.world.admin.request("GET", path).body["items"])


def refusals(place: Place) -> list[Request]:
    """Return the requests of the account that were refused."""
    return [one for one in place.world.requests() if one.user == place.account and one.code == 403]


def sample(place: Place, name: str) -> Manifest:
    (path,) = [path for path in SAMPLES if path.stem == name]
    return place.create("Workflow", yaml.safe_load(path.read_text()))


def start(place: Place, manifest: Manifest, given: Mapping[str, str] = GIVEN) -> Run:
    declared = [one["name"] for one in manifest["spec"].get("parameters", []) if one.get("required")]
    return place.run(workflow=manifest["metadata"]["name"], **{name: given[name] for name in declared})


def approve(run: Run) -> None:
    """Approve what waits for a person, if anything comes to that."""
    found = run.wait(lambda r: "finishedAt" in r.get("status", {}) or bool(_asked(r)), "it asks or ends")
    if answers := [{"step": name, "decision": "Approve", "by": "admin"} for name in _asked(found)]:
        run.control(approvals=answers)


def _asked(run: Manifest) -> list[str]:
    records = steps(run.get("status", {})).items()
    return [name for name, record in records if record["phase"] == "Waiting"]


@pytest.fixture(scope="module")
def samples(world: World) -> dict[str, tuple[Place, Run]]:
    """Every sample run with the Role printed for it; all at the same time."""
    places = {path.stem: begun(world, *OTHERS.get(path.stem, ())) for path in SAMPLES}
    for name, place in places.items():
        revise(place, *OTHERS.get(name, ()))
    nowhere = {"template": {"spec": {"nodeSelector": {"nowhere": "yes"}}}, "progressDeadlineSeconds": 2}
    places["bad-rollout"].change("Deployment", "web", {"spec": nowhere})
    for name, manifests in OBJECTS.items():
        for manifest in manifests:
            apply(places[name], yaml.safe_dump(in_namespace(manifest, places[name])))
    newer = in_namespace(OBJECTS["stateful-bad-rollout"][0], places["stateful-bad-rollout"])
    newer["spec"]["template"]["metadata"]["labels"]["newer"] = "yes"
    until("the StatefulSet has a revision", partial(_revised, places["stateful-bad-rollout"]))
    apply(places["stateful-bad-rollout"], yaml.safe_dump(newer))
    made = {name: sample(place, name) for name, place in places.items()}
    # It starts runs of this one, which act as the same account.
    sample(places["two-tiers"], "crash-loop")
    for name, place in places.items():
        told = ready(place, name, "False")
        assert f"kubernaut rbac {name} -n {place.namespace} | kubectl apply -f -" in told["message"]
    tiers = places["two-tiers"]
    roles = [role(place, name, *MORE.get(name, ())) for name, place in places.items()]
    apply(tiers, "---\n".join([*roles, role(tiers, "crash-loop")]))
    runs = {name: start(places[name], manifest) for name, manifest in made.items() if name not in ELSEWHERE}
    for name in ("ask-first", "person-decides", "stuck-job"):
        approve(runs[name])
    return {name: (places[name], run) for name, run in runs.items()}


@pytest.mark.parametrize("name", [path.stem for path in SAMPLES if path.stem not in ELSEWHERE])
def test_a_sample_runs_with_the_role_that_is_printed_for_it(
    samples: dict[str, tuple[Place, Run]], name: str
) -> None:
    place, run = samples[name]
    status = run.end(120)
    reasons = {record.get("reason") for record in steps(status).values()}
    assert "MissingRight" not in {status.get("reason"), *reasons}, status
    assert status["phase"] == "Succeeded", status
    assert "lacks" not in ready(place, name, "True")["message"]
    assert not refusals(place)


def whole(place: Place, **spec: Any) -> Manifest:
    """Declare a Workflow with names that are literal, groups, a subflow and steps under finally."""
    place.workflow({"name": "tell", "action": "notify_only", "with": {"message": "x"}}, name="other")
    pods = {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=worker"}
    database = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "database"}
    patch = {
        "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "kubernaut.local/pause:1"}]}}}
    }
    return place.workflow(
        {"name": "look", "action": "collect_diagnostics", "with": {"logs": False}},
        {"name": "scale", "action": "scale_deployment", "dependsOn": ["look"], "with": {"replicas": 2}},
        {
            "name": "raise",
            "action": "increase_resources",
            "dependsOn": ["scale"],
            "with": {"memoryFactor": 2},
        },
        {"name": "back", "action": "rollback_deployment", "dependsOn": ["scale"], "with": {"name": "cache"}},
        acting("change", "raise", patch={"metadata": {"annotations": {"token": "secret"}}}),
        {"name": "each", "dependsOn": ["back"], "forEach": {"select": pods, "template": "one"}},
        {"name": "sub", "dependsOn": ["each"], "workflow": {"name": "other"}},
        {
            "name": "database",
            "dependsOn": ["sub"],
            "wait": {"until": "has(object.status.readyReplicas)", "object": database},
        },
        acting("last", "database", patch=patch, expect={"spec.paused": True}),
        templates=[
            {
                "name": "one",
                "steps": [{"name": "pod", "action": "restart_pod", "with": {"name": "=item.name"}}],
            }
        ],
        **{
            "finally": [
                {"name": "page", "action": "scale_deployment", "with": {"name": "maintenance", "replicas": 0}}
            ],
            "onFailure": "Rollback",
            "verify": {"expect": ["has(target.status.readyReplicas)"]},
            **spec,
        },
    )


def test_the_role_is_enough_to_put_everything_back(world: World) -> None:
    place = prepared(world, "cache", "worker", "database", "maintenance")
    whole(place)
    apply(place, role(place, "flow"))
    apply(place, role(place, "other"))
    ready(place, "flow", "True")
    ready(place, "other", "True")
    status = place.run().end(120)
    told = steps(status)
    assert told["last"]["reason"] == "PreconditionFailed", status
    assert status["verdict"] == "RolledBack", status
    assert told["page"]["phase"] == "Succeeded", told["page"]
    assert not refusals(place)
    names = {
        tuple(rule.get("resourceNames", []))
        for document in yaml.safe_load_all(role(place, "flow"))
        if document["kind"] == "Role"
        for rule in document["rules"]
        if "deployments" in rule["resources"] and "patch" in rule["verbs"]
    }
    assert names == {("cache", "maintenance", "web")}


def test_with_parameters_the_role_holds_for_the_objects_named_alone(world: World) -> None:
    place = prepared(world, "cache", "worker")
    manifest = sample(place, "restart-several")
    given = {"deployment": "web", "cache": "cache", "worker": "worker"}
    params = [f"--param={key}={value}" for key, value in given.items()]
    apply(place, role(place, "restart-several", *params))
    place.await_right(
        place.account,
        {"verb": "patch", "group": "apps", "resource": "deployments", "name": "worker"},
        allowed=True,
    )
    assert "lacks get" in ready(place, "restart-several", "False")["message"]
    assert start(place, manifest).end(90)["phase"] == "Succeeded"
    other = Run(place, place.create("WorkflowExecution", _other_target(place)))
    status = other.end()
    assert (status["phase"], status["reason"]) == ("Failed", "MissingRight")


def _other_target(place: Place) -> Manifest:
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": "other", "namespace": place.namespace},
        "spec": {
            "workflowRef": {"name": "restart-several"},
            "parameters": [{"name": "deployment", "value": "database"}],
        },
    }


def test_what_lacks_is_named_before_any_run_and_no_more_once_it_is_granted(world: World) -> None:
    place = prepared(world)
    place.workflow(
        {"name": "fix", "action": "scale_deployment", "with": {"replicas": 2, "autoscaler": "Ignore"}}
    )
    told = ready(place, "flow", "False")
    assert told["reason"] == "MissingRight"
    assert "get, patch deployments.apps web (fix, the target)" in told["message"]
    assert not place.list("WorkflowExecution")
    place.create("Role", _role("less", ["get"]))
    place.create("RoleBinding", _binding("less", place.namespace))
    told = permissions(place, "flow", lambda one: "lacks patch" in one["message"], "only patch lacks")
    assert told["status"] == "False"
    status = place.run("early").end()
    assert (status["phase"], steps(status)["fix"]["reason"]) == ("Failed", "MissingRight")
    assert "patch deployments.apps" in steps(status)["fix"]["message"]
    typed = place.world.kubernaut("rbac", "flow", "-n", place.namespace)
    assert (typed.returncode, typed.stdout) == (0, role(place, "flow"))
    apply(place, typed.stdout)
    ready(place, "flow", "True")
    assert place.run("late").end()["phase"] == "Succeeded"


def test_a_right_that_is_taken_away_is_told_soon_after_a_run_met_that(world: World) -> None:
    place = prepared(world)
    place.workflow({"name": "fix", "action": "restart_deployment"})
    apply(place, role(place, "flow"))
    ready(place, "flow", "True")
    place.delete("RoleBinding", "kubernaut:flow")
    place.await_right(
        place.account, {"verb": "get", "group": "apps", "resource": "deployments"}, allowed=False
    )
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "MissingRight")
    assert "lacks get, patch deployments.apps web" in ready(place, "flow", "False")["message"]


def test_an_account_that_is_not_there_or_may_not_be_acted_as_is_the_trouble_that_is_told(
    world: World,
) -> None:
    place = world.place(account=False, rights=False)
    place.workflow({"name": "fix", "action": "restart_deployment"})
    told = ready(place, "flow", "False")
    assert told["reason"] == "ServiceAccountNotFound"
    # The operator is refused what it asks as that account.
    world.refusing.add(place.namespace)
    place.workflow(
        {"name": "fix", "action": "restart_deployment"}, name="foreign", serviceAccountName="default"
    )
    told = ready(place, "foreign", "False")
    assert "may not act as" in told["message"]
    # By this the test of the whole session tells refusals that a test wanted from those that nobody expected.
    refused = [r for r in world.requests() if r.what == "selfsubjectrulesreviews" and r.code == 403]
    assert place.namespace in {r.refused_in for r in refused}


def test_asking_costs_no_right_and_no_write_but_for_what_changed(world: World) -> None:
    place = world.place()
    made = place.workflow({"name": "fix", "action": "restart_deployment"})
    ready(place, "flow", "True")
    asked = [
        one
        for one in world.requests()
        if one.resource.startswith("selfsubject") and one.user == place.account
    ]
    assert asked
    assert all(one.code == 201 for one in asked)
    writes = [
        one
        for one in world.persisted(place.namespace)
        if one.resource == "workflows" and one.name == made["metadata"]["name"]
    ]
    assert len(writes) == 2


def _role(name: str, verbs: list[str]) -> Manifest:
    rule = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs}
    return {"metadata": {"name": name}, "rules": [rule]}


def _binding(name: str, namespace: str) -> Manifest:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": REPAIR, "namespace": namespace}],
    }
