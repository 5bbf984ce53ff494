"""Actions on workloads against faults of real containers: a kubelet says that they are there, and then gone."""

from __future__ import annotations

from typing import Any

from apiserver.acting import Place, await_true
from kubernaut.actions import pods
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.action import Done
from kubernaut.core.ports import Manifest
from localcluster import Cluster

REGISTRY = ActionRegistry()
FINE = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.2; done"]
BROKEN = ["sh", "-c", "exit 3"]
HASH = "controller-revision-hash"
_RESOURCES = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


def workload(cluster: Cluster, kind: str, command: list[str] = FINE, **container: Any) -> Manifest:
    """Return a workload named db of one container, whose pods end at once."""
    made = {"name": "app", "image": cluster.real_image("busybox"), "command": command, **container}
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [made], "terminationGracePeriodSeconds": 1},
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "db"}}, "template": template}
    if kind != "DaemonSet":
        spec["replicas"] = 2
    if kind == "StatefulSet":
        spec["serviceName"] = "db"
    return {"metadata": {"name": "db"}, "spec": spec}


def well(place: Place, kind: str) -> bool:
    """Whether the newest generation is rolled out and ready."""
    found = place.get("apps/v1", _RESOURCES[kind], "db")
    status, spec = found.get("status", {}), found["spec"]
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return False
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        counts = [status.get(name, 0) for name in ("numberReady", "updatedNumberScheduled")]
    else:
        wanted = spec["replicas"]
        counts = [status.get(name, 0) for name in ("readyReplicas", "updatedReplicas", "replicas")]
    return bool(wanted) and set(counts) == {wanted}


def restarted(place: Place) -> bool:
    """Whether a container ended and was started again, as the kubelet counts it."""
    return any(pods.restarts(pod) for pod in place.items("v1", "pods"))


def made(place: Place, cluster: Cluster, kind: str, command: list[str] = FINE, **container: Any) -> Manifest:
    place.create("apps/v1", _RESOURCES[kind], workload(cluster, kind, command, **container))
    await_true(lambda: well(place, kind), f"{kind} db did not get well")
    return place.get("apps/v1", _RESOURCES[kind], "db")


def give(place: Place, kind: str, template: Manifest) -> None:
    place.patch("apps/v1", _RESOURCES[kind], "db", {"spec": {"template": template["spec"]["template"]}})


async def act(place: Place, target: Manifest, name: str, /, **given: Any) -> Done:
    """Perform an action as an account with just the rights that it declares."""
    action = REGISTRY.get(name)
    parameters = action.parameters.model_validate(given)
    context = place.context(target, step=name.replace("_", "-"))
    account = place.account(action.rights(context.target, parameters))
    intent = await action.prepare(account, context, parameters)
    context = place.context(target, step=context.step, intent=intent)
    done = await action.perform(account, context, parameters)
    again = await action.perform(account, context, parameters)
    assert (again.acted, again.outputs) == (done.acted, done.outputs)
    return done


async def test_a_stateful_set_gets_well_by_a_rollback_and_the_eviction_of_the_pods_it_waits_for(
    place: Place, cluster: Cluster
) -> None:
    target = made(place, cluster, "StatefulSet")
    give(place, "StatefulSet", workload(cluster, "StatefulSet", BROKEN))
    await_true(lambda: restarted(place), "no pod crashes")
    done = await act(place, target, "rollback_statefulset")
    assert done.outputs["seenAvailable"] is True

    def left() -> list[str]:
        """Return the pods of the revision that crashes."""
        labels = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in place.items("v1", "pods")}
        return [name for name, one in labels.items() if one[HASH] == done.outputs["fromName"]]

    assert left()
    for name in left():
        await act(place, target, "restart_pod", name=name)
    await_true(lambda: not left() and well(place, "StatefulSet"), "the StatefulSet does not get well")


async def test_a_daemon_set_gets_well_by_a_rollback_alone(place: Place, cluster: Cluster) -> None:
    target = made(place, cluster, "DaemonSet")
    give(place, "DaemonSet", workload(cluster, "DaemonSet", BROKEN))
    await_true(lambda: restarted(place), "no pod crashes")
    done = await act(place, target, "rollback_daemonset")
    assert done.outputs["toRevision"] == 1
    await_true(lambda: well(place, "DaemonSet"), "the DaemonSet does not get well")


async def test_an_image_that_can_not_be_pulled_is_replaced(place: Place, cluster: Cluster) -> None:
    target = made(place, cluster, "Deployment")
    bad = workload(cluster, "Deployment", image="kubernaut.local/no-such-image:1")
    give(place, "Deployment", bad)

    def waits() -> bool:
        views = [view for pod in place.items("v1", "pods") for view in pods.containers(pod)]
        return any(view.waiting in ("ErrImagePull", "ImagePullBackOff") for view in views)

    await_true(waits, "the image is there after all")
    await act(
        place,
        target,
        "set_image",
        image=cluster.real_image("busybox"),
        expect="kubernaut.local/no-such-image:1",
    )
    await_true(lambda: well(place, "Deployment") and not waits(), "the Deployment does not get well")


async def test_a_liveness_probe_that_is_too_short_no_longer_kills(place: Place, cluster: Cluster) -> None:
    probe = {
        "exec": {"command": ["sleep", "2"]},
        "periodSeconds": 1,
        "timeoutSeconds": 1,
        "failureThreshold": 2,
    }
    place.create("apps/v1", "deployments", workload(cluster, "Deployment", livenessProbe=probe))
    await_true(lambda: restarted(place), "the probe kills nobody")
    target = place.get("apps/v1", "deployments", "db")
    done = await act(place, target, "fix_probe", probe="liveness", timeoutSeconds=10)
    assert done.acted, done.message
    await_true(lambda: well(place, "Deployment"), "the Deployment does not get well")
    newest = {pod["metadata"]["uid"] for pod in place.items("v1", "pods") if not pods.leaving(pod)}

    def asked() -> bool:
        """Whether the new pods lived through several times what killed the former ones."""
        alive = [pod for pod in place.items("v1", "pods") if pod["metadata"]["uid"] in newest]
        ages = [view for pod in alive for view in pods.containers(pod)]
        return len(alive) == 2 and all(view.ready and not view.restarts for view in ages)

    await_true(asked, "a new pod was killed")


READY = ["sh", "-c", "touch /tmp/ready; trap 'exit 0' TERM; while true; do sleep 0.2; done"]
ASKED = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}


def wedge(place: Place, cluster: Cluster, pod: str) -> None:
    """Have a pod's process go on, and answer nobody any more: no restart by the kubelet follows."""
    cluster.run_kubectl("exec", "-n", place.namespace, pod, "--", "rm", "/tmp/ready")
    await_true(lambda: not pods.ready(place.get("v1", "pods", pod)), f"pod {pod} is still ready")


def names(place: Place) -> set[str]:
    """Return the pods that are there to stay."""
    return {pod["metadata"]["name"] for pod in place.items("v1", "pods") if not pods.leaving(pod)}


def reached(place: Place) -> set[str]:
    """Return the pods that the Service sends to."""
    slices = place.items("discovery.k8s.io/v1", "endpointslices")
    ends = [end for one in slices for end in one.get("endpoints") or () if end["conditions"].get("ready")]
    return {end["targetRef"]["name"] for end in ends}


async def test_a_pod_in_quarantine_runs_on_while_another_takes_its_place_until_it_is_put_back(
    place: Place, cluster: Cluster
) -> None:
    target = made(place, cluster, "Deployment", command=READY, readinessProbe=ASKED)
    place.create(
        "v1",
        "services",
        {"metadata": {"name": "db"}, "spec": {"selector": {"app": "db"}, "ports": [{"port": 80}]}},
    )
    await_true(lambda: reached(place) == names(place), "the Service does not reach both pods")
    wedged = min(names(place))
    before = place.get("v1", "pods", wedged)["status"]["containerStatuses"][0]
    wedge(place, cluster, wedged)
    await_true(lambda: wedged not in reached(place) and not well(place, "Deployment"), "nobody notices")

    action = REGISTRY.get("quarantine_pod")
    parameters = action.parameters.model_validate({"unhealthy": True})
    context = place.context(target, step="quarantine")
    account = place.account(action.rights(context.target, parameters))
    intent = await action.prepare(account, context, parameters)
    context = place.context(target, step="quarantine", intent=intent)
    done = await action.perform(account, context, parameters)
    assert (done.outputs["pod"], done.outputs["services"]) == (wedged, ["db"])
    await_true(lambda: well(place, "Deployment"), "no other pod takes its place")
    assert len(names(place)) == 3
    await_true(lambda: reached(place) == names(place) - {wedged}, "the Service does not reach the two others")
    after = place.get("v1", "pods", wedged)["status"]["containerStatuses"][0]
    assert "running" in after["state"]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], before["restartCount"])

    assert (await action.undo(account, context, parameters)).acted
    await_true(lambda: len(names(place)) == 2, "its controller does not take it back")
    await_true(lambda: well(place, "Deployment"), "the Deployment does not get well")


async def test_a_restart_has_every_process_that_hangs_begin_anew(place: Place, cluster: Cluster) -> None:
    target = made(place, cluster, "Deployment", command=READY, readinessProbe=ASKED)
    former = names(place)
    for pod in former:
        wedge(place, cluster, pod)
    assert not restarted(place)
    assert (await act(place, target, "restart_deployment")).acted
    await_true(
        lambda: well(place, "Deployment") and names(place).isdisjoint(former),
        "the Deployment does not get well",
    )
    assert len(names(place)) == 2
