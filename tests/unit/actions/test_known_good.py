"""What is remembered of an object, how it fares, and what differs since: pure."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from kubernaut.actions.knowngood import declaration, health
from kubernaut.actions.knowngood.declaration import HIDDEN, MAX_DECLARATION, declared, digest_of, pack, unpack
from kubernaut.actions.knowngood.difference import differences, restored
from kubernaut.actions.knowngood.health import Health, facts, judge
from kubernaut.core.ports import Manifest
from unit.actions.builders import (
    NOW,
    container,
    deployment,
    ended,
    pod,
    running,
    template,
    waiting,
    workload,
)


def well(manifest: Manifest, **status: Any) -> Manifest:
    """Return a workload whose controller says that all is well, but for what is given."""
    meta = {**manifest["metadata"], "generation": 3}
    count = manifest["spec"].get("replicas", 1)
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    good = {"observedGeneration": 3, **dict.fromkeys(names, count)}
    return {**manifest, "metadata": meta, "status": {**good, **status}}


def config_map(**data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-settings"},
        "data": data,
    }


def env(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def told(known: Manifest, seen: Manifest) -> dict[str, tuple[Any, Any]]:
    return {one.text: (one.live, one.known) for one in differences(declared(known), seen) if not one.left}


# The declaration


def test_what_moves_by_itself_is_no_part_of_a_declaration() -> None:
    plain = deployment()
    noisy = copy.deepcopy(plain)
    noisy["metadata"] |= {
        "resourceVersion": "7",
        "generation": 4,
        "managedFields": [{"manager": "kubectl"}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"kubernaut.io/remember": "true"},
        "annotations": {
            "deployment.kubernetes.io/revision": "3",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "step.kubernaut.io/run-1": "{}",
            "argocd.argoproj.io/tracking-id": "shop",
        },
    }
    noisy["spec"]["template"]["metadata"] |= {
        "creationTimestamp": None,
        "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"},
    }
    noisy["status"] = {"replicas": 2}
    assert declared(noisy) == declared(plain)


def test_labels_and_annotations_of_people_are_part_of_it() -> None:
    given = deployment()
    given["metadata"] |= {
        "labels": {"team": "a"},
        "annotations": {"nginx.ingress.kubernetes.io/rewrite": "/"},
    }
    found = declared(given)["metadata"]
    assert found == {"labels": {"team": "a"}, "annotations": {"nginx.ingress.kubernetes.io/rewrite": "/"}}


def test_the_same_declaration_of_two_objects_is_stored_once() -> None:
    one, other = config_map(level="info"), config_map(level="info")
    other["metadata"] |= {"name": "other", "namespace": "garden", "uid": "uid-2"}
    assert digest_of(declared(one)) == digest_of(declared(other))
    assert digest_of(declared(one)) != digest_of(declared(config_map(level="debug")))


def test_a_packed_declaration_comes_back_and_a_large_one_is_not_packed() -> None:
    found = declared(config_map(level="ä" * 1000))
    packed = pack(found)
    assert packed is not None
    assert unpack(packed.content) == found
    assert packed.digest == digest_of(found)
    assert len(packed.content) < 100 < packed.size
    assert pack(declared(config_map(page="x" * MAX_DECLARATION))) is None


CANARY = "c4n4ry"
SECRETS = [
    deployment(pod=template(container(env=env(DB_PASSWORD=CANARY)))),
    deployment(pod=template(container(env=env(DATABASE_URL=f"postgres://app:{CANARY}@db/shop")))),
    deployment(pod=template(container(env=env(SETTINGS=f"token={CANARY}")))),
    deployment(pod=template(container(args=["--verbose", f"--api-key={CANARY}"]))),
    deployment(pod=template(container(command=["run", f"--dsn={CANARY}"]))),
    deployment(
        pod=template(
            container(
                livenessProbe={"httpGet": {"httpHeaders": [{"name": "Authorization", "value": CANARY}]}}
            )
        )
    ),
    config_map(password=CANARY),
    config_map(settings=f"level: info\nsecret: {CANARY}"),
    {**config_map(), "binaryData": {"file": base64.b64encode(f"password={CANARY}".encode()).decode()}},
    {**deployment(), "metadata": {**deployment()["metadata"], "annotations": {"webhook-token": CANARY}}},
]


@pytest.mark.parametrize("holding", SECRETS, ids=range(len(SECRETS)))
def test_what_may_be_a_secret_is_not_remembered(holding: Manifest) -> None:
    found = declared(holding)
    assert CANARY not in str(found)
    assert base64.b64encode(CANARY.encode()).decode()[:8] not in str(found)
    assert declaration.hides(found)


def test_references_to_secrets_are_remembered() -> None:
    reference = {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    given = deployment(pod=template(container(env=[reference])))
    assert not declaration.hides(declared(given))


# What differs


def test_each_field_is_compared_by_itself() -> None:
    known = deployment(pod=template(container(image="api:1", env=env(LEVEL="info", PORT="80"))))
    seen = deployment(pod=template(container(image="api:2", env=env(LEVEL="debug", PORT="80"))), replicas=5)
    path = "spec.template.spec.containers[name=app]"
    assert told(known, seen) == {
        "spec.replicas": (5, 2),
        f"{path}.image": ("api:2", "api:1"),
        f"{path}.env[name=LEVEL].value": ("debug", "info"),
    }


def test_named_elements_come_and_go_one_by_one_and_stand_where_they_stood() -> None:
    known = deployment(pod=template(container(env=env(A="1", B="2", C="3"))))
    seen = deployment(pod=template(container(env=env(A="1", C="4", NEW="5"))))
    content = declared(known)
    found = differences(content, seen)
    assert len(found) == 3
    back = restored(seen, found, content)
    assert back["spec"] == known["spec"]


def test_an_element_that_others_added_stays_where_only_another_one_is_restored() -> None:
    known = deployment(pod=template(container(env=env(A="1", B="2"))))
    seen = deployment(pod=template(container(env=env(A="9", B="2", OURS="5"))))
    content = declared(known)
    found = [one for one in differences(content, seen) if "OURS" not in one.text]
    assert restored(seen, found, content)["spec"]["template"]["spec"]["containers"][0]["env"] == env(
        A="1", B="2", OURS="5"
    )


def test_a_list_that_was_put_in_another_order_is_one_field() -> None:
    known = deployment(pod=template(container(env=env(A="1", B="2"))))
    seen = deployment(pod=template(container(env=env(B="2", A="1"))))
    ((path, _),) = told(known, seen).items()
    assert path.endswith(".env")
    content = declared(known)
    assert restored(seen, differences(content, seen), content)["spec"] == known["spec"]


@pytest.mark.parametrize("names", [("ABCD", "AD"), ("AD", "ABCD"), ("ABC", "XBY"), ("AB", ""), ("", "AB")])
def test_whatever_differs_in_a_list_all_of_it_restored_is_what_was_known(names: tuple[str, str]) -> None:
    known, seen = (deployment(pod=template(container(env=env(**dict.fromkeys(one, "1"))))) for one in names)
    content = declared(known)
    assert restored(seen, differences(content, seen), content)["spec"] == known["spec"]


def test_keys_of_a_config_map_are_compared_one_by_one_though_it_lost_all() -> None:
    seen = config_map()
    del seen["data"]
    found = told(config_map(level="info", page="x"), seen)
    assert found == {"data.level": (None, "info"), "data.page": (None, "x")}


def managed(manager: str, fields: Any, *, subresource: str = "") -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "time": "2026-03-01T11:00:00Z",
        "subresource": subresource,
        "fieldsV1": fields,
    }


def test_who_wrote_a_field_is_told_and_what_controllers_write_is_left() -> None:
    seen = deployment(pod=template(container(image="api:2")), replicas=9)
    replicas: Any = {"f:spec": {"f:replicas": {}}}
    image: Any = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}}}}}}
    }
    seen["metadata"]["managedFields"] = [
        managed("kube-controller-manager", replicas, subresource="scale"),
        managed("kubectl-edit", image),
    ]
    by = {one.text: one for one in differences(declared(deployment()), seen)}
    changed = by["spec.template.spec.containers[name=app].image"]
    assert (changed.by, changed.at, changed.left) == ("kubectl-edit", "2026-03-01T11:00:00Z", "")
    assert by["spec.replicas"].left == "an autoscaler writes it"
    left = differences(declared(deployment()), seen, leave=["kubectl-edit"])
    assert all(one.left for one in left)


def test_a_value_that_was_not_remembered_is_left_and_says_why() -> None:
    known = deployment(pod=template(container(args=["--token=a"])))
    seen = deployment(pod=template(container(args=["--token=a", "--loud"])))
    (one,) = differences(declared(known), seen)
    assert "may hold a secret" in one.left
    assert one.known == [HIDDEN]


# How it fares

POOR = [
    ({"availableReplicas": 1}, Health.UNHEALTHY, "1 of 2 replicas are available"),
    ({"updatedReplicas": 1, "replicas": 3}, Health.UNHEALTHY, "of the newest revision"),
    ({"replicas": 3}, Health.UNHEALTHY, "of older revisions are left"),
    ({"observedGeneration": 2}, Health.UNSEEN, "newest generation"),
    (
        {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}]},
        Health.UNHEALTHY,
        "FailedCreate",
    ),
    (
        {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
        Health.UNHEALTHY,
        "no progress",
    ),
    ({}, Health.HEALTHY, "all of 2"),
]


@pytest.mark.parametrize(("status", "wanted", "why"), POOR)
def test_a_deployment_fares_as_its_status_says(status: Any, wanted: Health, why: str) -> None:
    finding = health.own(well(deployment(), **status))
    assert finding.health is wanted
    assert why in finding.why


def test_a_workload_that_is_to_run_no_pods_proves_nothing() -> None:
    assert health.own(well(deployment(replicas=0))).health is Health.IDLE
    assert health.own(well(workload("StatefulSet", replicas=0))).health is Health.IDLE
    none = {"metadata": {"generation": 0}, "kind": "DaemonSet", "status": {"desiredNumberScheduled": 0}}
    assert health.own(none).health is Health.IDLE


def test_a_stateful_set_rolled_out_to_its_partition_is_well() -> None:
    strategy = {"rollingUpdate": {"partition": 1}}
    assert health.own(well(workload("StatefulSet"), updatedReplicas=1)).health is Health.UNHEALTHY
    partial = workload("StatefulSet", updateStrategy=strategy)
    assert health.own(well(partial, updatedReplicas=1)).health is Health.HEALTHY
    assert health.own(well(partial, updatedReplicas=1, readyReplicas=1)).health is Health.UNHEALTHY


def daemon_set(**status: int) -> Manifest:
    good = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}
    made = workload("DaemonSet")
    return {**made, "status": {**good, **status}}


def test_a_daemon_set_fares_as_its_counts_say() -> None:
    assert health.own(daemon_set()).health is Health.HEALTHY
    assert health.own(daemon_set(numberAvailable=2)).health is Health.UNHEALTHY
    assert health.own(daemon_set(updatedNumberScheduled=0)).health is Health.UNHEALTHY


GOOD = facts(well(deployment(pod=template(container(ports=[{"name": "web", "containerPort": 80}])))))
ILL = facts(well(deployment(), availableReplicas=0))
SHAKEN = [
    (waiting("CrashLoopBackOff", exitCode=3, finishedAt="2026-03-01T11:58:00Z"), False),
    (running(restarts=2, exitCode=3, reason="Error", finishedAt="2026-03-01T11:58:00Z"), False),
    (running(restarts=2, exitCode=0, reason="Completed", finishedAt="2026-03-01T11:58:00Z"), False),
    (running(restarts=2, exitCode=3, reason="Error", finishedAt="2026-03-01T11:40:00Z"), True),
    (running(), True),
]


@pytest.mark.parametrize(("status", "is_well"), SHAKEN)
def test_a_workload_whose_containers_end_again_and_again_is_not_well_in_between(
    status: Manifest, is_well: bool
) -> None:
    found = health.looked_into(GOOD, [pod("api-1", status)], NOW)
    assert (found.own == GOOD.own) is is_well
    others = pod("other-1", status)
    others["metadata"]["labels"] = {"app": "other"}
    assert health.looked_into(GOOD, [others], NOW) is GOOD


def test_an_init_container_that_did_its_work_shakes_nothing() -> None:
    ready = pod("api-1")
    done = ended(name="prepare", exitCode=0, finishedAt="2026-03-01T11:59:00Z")
    ready["status"]["initContainerStatuses"] = [done]
    assert health.looked_into(GOOD, [ready], NOW) is GOOD
    failed = running(name="prepare", exitCode=1, finishedAt="2026-03-01T11:59:00Z")
    ready["status"]["initContainerStatuses"] = [failed]
    assert health.looked_into(GOOD, [ready], NOW) is not GOOD


def service(selector: dict[str, str] | None, port: Any = 8080) -> Manifest:
    spec = {"ports": [{"port": 80, "targetPort": port}], **({"selector": selector} if selector else {})}
    return {"kind": "Service", "metadata": {"name": "api"}, "spec": spec}


def test_a_service_is_as_well_as_the_workloads_it_selects() -> None:
    assert judge(facts(service({"app": "api"})), [GOOD]).health is Health.HEALTHY
    assert judge(facts(service({"app": "api"})), [ILL]).health is Health.UNHEALTHY
    assert judge(facts(service({"app": "apii"})), [GOOD]).health is Health.UNHEALTHY
    assert judge(facts(service({"app": "api"}, "web")), [GOOD]).health is Health.HEALTHY
    assert judge(facts(service({"app": "api"}, "wep")), [GOOD]).health is Health.UNHEALTHY
    assert judge(facts(service(None)), [GOOD]).health is Health.HEALTHY


REFERENCE = {"configMapKeyRef": {"name": "settings", "key": "level"}}
USES = [
    template(volumes=[{"name": "v", "configMap": {"name": "settings"}}]),
    template(volumes=[{"name": "v", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}]),
    template(container(envFrom=[{"configMapRef": {"name": "settings"}}])),
    template(container(env=[{"name": "LEVEL", "valueFrom": REFERENCE}])),
]


@pytest.mark.parametrize("using", USES)
def test_a_config_map_is_as_well_as_the_workloads_that_use_it(using: dict[str, Any]) -> None:
    about = facts(config_map(level="info"))
    others = facts(well(deployment("other", template())))
    assert judge(about, [facts(well(deployment(pod=using))), ILL]).health is Health.HEALTHY
    assert (
        judge(about, [facts(well(deployment(pod=using), availableReplicas=1)), others]).health
        is Health.UNHEALTHY
    )


def test_what_no_workload_uses_is_as_well_as_all_of_its_namespace() -> None:
    about = facts(config_map(level="info"))
    assert judge(about, [GOOD]).health is Health.HEALTHY
    assert judge(about, [GOOD, ILL]).health is Health.UNHEALTHY
    assert judge(about, []).health is Health.UNSEEN


def test_a_network_policy_is_as_well_as_the_workloads_it_selects() -> None:
    def policy(selector: Any) -> Manifest:
        return {"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"podSelector": selector}}

    assert judge(facts(policy({"matchLabels": {"app": "api"}})), [GOOD]).health is Health.HEALTHY
    assert judge(facts(policy({})), [GOOD, ILL]).health is Health.UNHEALTHY


def autoscaler(*conditions: tuple[str, str, str]) -> Manifest:
    told = [{"type": kind, "status": status, "reason": reason} for kind, status, reason in conditions]
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    meta = {"name": "api"}
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": spec,
        "status": {"conditions": told},
    }


def test_an_autoscaler_fares_as_its_conditions_and_what_it_scales() -> None:
    able, active = ("AbleToScale", "True", "x"), ("ScalingActive", "True", "x")
    assert judge(facts(autoscaler(able, active)), [GOOD]).health is Health.HEALTHY
    assert judge(facts(autoscaler(able, active)), [ILL]).health is Health.UNHEALTHY
    lost = ("ScalingActive", "False", "FailedGetResourceMetric")
    assert judge(facts(autoscaler(able, lost)), [GOOD]).health is Health.UNHEALTHY
    disabled = ("ScalingActive", "False", "ScalingDisabled")
    assert judge(facts(autoscaler(able, disabled)), [GOOD]).health is Health.IDLE
    assert judge(facts(autoscaler()), [GOOD]).health is Health.UNSEEN
