"""Actions on pods, ConfigMaps and quantities at a real API server."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from apiserver.acting import Place, await_true, deployment
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Conflict, Forbidden, StepError
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.quantity import Quantity

REGISTRY = ActionRegistry()


def running(place: Place) -> Manifest:
    place.create("apps/v1", "deployments", deployment())
    return place.settled()


def uids(place: Place) -> dict[str, str]:
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in place.items("v1", "pods")
        if "deletionTimestamp" not in pod["metadata"]
    }


def break_pod(place: Place, name: str) -> None:
    """Give a pod the status of a crash loop, as a kubelet would."""
    status = {
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "app",
                "image": "x",
                "imageID": "",
                "ready": False,
                "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
            }
        ],
    }
    place.patch("v1", "pods", f"{name}/status", {"status": status})


async def prepared_and_performed(place: Place, account: Any, target: Manifest, parameters: Any) -> None:
    action = REGISTRY.get("restart_pod")
    intent = await action.prepare(account, place.context(target), parameters)
    await action.perform(account, place.context(target, intent=intent), parameters)


@pytest.mark.parametrize(
    ("method", "verb"), [("evict", ("create", "pods/eviction")), ("delete", ("delete", "pods"))]
)
async def test_the_worst_pod_is_replaced_once_and_no_other(
    place: Place, method: str, verb: tuple[str, str]
) -> None:
    target = running(place)
    before = uids(place)
    name = sorted(before)[1]
    break_pod(place, name)
    action = REGISTRY.get("restart_pod")
    parameters = action.parameters.model_validate({"unhealthy": True, "method": method})
    context = place.context(target)
    rights = action.rights(context.target, parameters)
    for missing in rights:
        account = place.account(right for right in rights if right is not missing)
        with pytest.raises(Forbidden, match=f"add verb {missing.verb} on {missing.resource}") as caught:
            await prepared_and_performed(place, account, target, parameters)
        assert caught.value.reason is Reason.MISSING_RIGHT
    assert uids(place) == before
    refused = place.connection.mutations[verb]

    account = place.account(rights)
    intent = await action.prepare(account, context, parameters)
    assert intent == {"name": name, "uid": before[name]}
    for _ in range(2):
        assert (await action.perform(account, place.context(target, intent=intent), parameters)).acted
    assert place.connection.mutations[verb] - refused == 1
    place.settled()
    after = uids(place)
    assert len(after) == 2
    assert set(before.values()) - set(after.values()) == {before[name]}
    assert (await action.perform(account, place.context(target, intent=intent), parameters)).acted
    assert uids(place) == after


async def test_a_request_for_another_uid_is_refused_by_the_server(place: Place) -> None:
    running(place)
    name = sorted(uids(place))[0]
    ref = ObjectRef("v1", "Pod", place.namespace, name)
    own = place.connection.own()
    with pytest.raises(Conflict):
        await own.delete(ref, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Conflict):
        await own.evict(ref, uid="00000000-0000-0000-0000-000000000000")
    assert name in uids(place)


async def test_a_disruption_budget_refuses_an_eviction(place: Place) -> None:
    target = running(place)
    before = uids(place)
    budget = {
        "metadata": {"name": "api"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "api"}}},
    }
    place.create("policy/v1", "poddisruptionbudgets", budget)

    def observed() -> bool:
        status = place.get("policy/v1", "poddisruptionbudgets", "api").get("status", {})
        return bool(status.get("expectedPods") == 2)

    await_true(observed, "the disruption budget was not looked at")
    action = REGISTRY.get("restart_pod")
    parameters = action.parameters.model_validate({"name": sorted(before)[0]})
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    intent = await action.prepare(account, context, parameters)
    with pytest.raises(StepError, match="disruption budget") as caught:
        await action.perform(account, place.context(target, intent=intent), parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert uids(place) == before


async def test_diagnostics_tell_what_ails_the_target_and_name_a_missing_right(place: Place) -> None:
    target = running(place)
    name = sorted(uids(place))[0]
    break_pod(place, name)
    action = REGISTRY.get("collect_diagnostics")
    parameters = action.parameters()
    context = place.context(target)
    rights = action.rights(context.target, parameters)
    for missing in rights:
        account = place.account(right for right in rights if right is not missing)
        with pytest.raises(Forbidden, match=f"add verb {missing.verb} on {missing.resource}"):
            await action.perform(account, context, parameters)
    done = await action.perform(place.account(rights), context, parameters)
    assert not done.acted
    told: Any = dict(done.outputs)
    assert told["symptoms"] == ["CrashLoopBackOff", "ExitCode3"]
    assert (told["restarts"], told["pods"], told["ready"], told["desired"]) == (4, 2, 1, 2)
    assert told["owners"][-1] == "Deployment/api"
    assert told["logOf"].startswith(f"{name}/app")


async def test_a_config_map_is_patched_once_and_put_back(place: Place) -> None:
    target = running(place)
    data = {"level": "debug", "old": "1"}
    place.create("v1", "configmaps", {"metadata": {"name": "settings"}, "data": data})
    action = REGISTRY.get("patch_resource")
    given = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "settings",
        "patch": {"data": {"level": "info", "old": None}, "metadata": {"labels": {"tier": "a"}}},
        "expect": {"data.level": "debug"},
    }
    parameters = action.parameters.model_validate(given)
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    for _ in range(2):
        assert (await action.perform(account, context, parameters)).acted
    changed = place.get("v1", "configmaps", "settings")
    assert changed["data"] == {"level": "info"}
    assert changed["metadata"]["labels"] == {"tier": "a"}
    for _ in range(2):
        assert (await action.undo(account, context, parameters)).acted
    restored = place.get("v1", "configmaps", "settings")
    assert restored["data"] == data
    assert "labels" not in restored["metadata"]


async def test_a_cluster_scoped_object_is_never_patched(place: Place) -> None:
    target = running(place)
    action = REGISTRY.get("patch_resource")
    given = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "name": place.namespace,
        "patch": {"metadata": {"labels": {"a": "b"}}},
    }
    made = {"metadata": {"name": place.namespace}, "spec": {"controller": "example.com/x"}}
    path = "/apis/networking.k8s.io/v1/ingressclasses"
    assert place.admin.request("POST", path, made).ok
    try:
        parameters = action.parameters.model_validate(given)
        with pytest.raises(StepError, match="own namespace only"):
            await action.perform(place.connection.own(), place.context(target), parameters)
        assert "labels" not in place.admin.request("GET", f"{path}/{place.namespace}").body["metadata"]
    finally:
        place.admin.request("DELETE", f"{path}/{place.namespace}")


async def test_what_is_written_of_a_quantity_is_kept_by_the_api_server_as_it_is(place: Place) -> None:
    """Else undo would take the API server's own spelling for somebody's change. It rounds up to thousandths."""
    numbers = ("0", "1", "128", "1000", "1023", "1024", "1025", "1.5", "0.5", "0.125", "7953.125", "1000000")
    suffixes = ["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "E1"]
    exact = [Quantity.parse(number + suffix) for number in numbers for suffix in suffixes]
    texts = sorted({str(quantity.rounded_up(Fraction(1, 1000))) for quantity in exact})
    containers = [
        {"name": f"c{n}", "image": "kubernaut.local/pause:1", "resources": {"limits": {"cpu": text}}}
        for n, text in enumerate(texts)
    ]
    pod = {
        "metadata": {"name": "quantities"},
        "spec": {"nodeSelector": {"nowhere": "true"}, "containers": containers},
    }
    place.create("v1", "pods", pod)
    stored = place.get("v1", "pods", "quantities")["spec"]["containers"]
    assert [one["resources"]["limits"]["cpu"] for one in stored] == texts


def controlled(place: Place) -> set[str]:
    """Return the names of the pods that stay and have a controller."""
    return {
        pod["metadata"]["name"]
        for pod in place.items("v1", "pods")
        if "deletionTimestamp" not in pod["metadata"] and pod["metadata"].get("ownerReferences")
    }


async def test_a_pod_in_quarantine_is_replaced_and_afterwards_one_too_many(place: Place) -> None:
    """Its controller lets go of it; with its labels back it is taken in again, and as it is broken, deleted."""
    target = running(place)
    worst = sorted(uids(place))[0]
    break_pod(place, worst)
    action = REGISTRY.get("quarantine_pod")
    parameters = action.parameters.model_validate({"unhealthy": True})
    account = place.account(action.rights(place.context(target).target, parameters))
    intent = await action.prepare(account, place.context(target), parameters)
    context = place.context(target, intent=intent)
    assert (await action.perform(account, context, parameters)).outputs["pod"] == worst
    await_true(lambda: len(controlled(place) - {worst}) == 2, "the pod was not replaced")
    place.settled()
    assert worst in uids(place)
    assert worst not in controlled(place)
    done = await action.undo(account, context, parameters)
    assert done.acted
    assert "its controller may have a pod too many now and delete one, perhaps this" in done.message
    await_true(lambda: worst not in uids(place), "the broken pod was kept")
    assert len(controlled(place)) == 2
    assert not (await action.undo(account, context, parameters)).acted
