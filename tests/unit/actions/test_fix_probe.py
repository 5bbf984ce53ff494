"""fix_probe: bounded timings of a probe that is there, and is seen to fail."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.fix_probe import FixProbe, FixProbeParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import container, context, pod, running, template, warning, workload
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

fix = FixProbe()
PROBE = {
    "httpGet": {"path": "/", "port": 80},
    "periodSeconds": 10,
    "timeoutSeconds": 1,
    "failureThreshold": 3,
}
BEFORE = {"initialDelaySeconds": 0, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3}
FAILED = {
    "liveness": "Liveness probe failed: HTTP probe failed with statuscode: 500",
    "readiness": "Readiness probe failed: the password is hunter2",
    "startup": "Startup probe errored and resulted in unknown state: timeout",
}


def wanted(probe: str = "liveness", **parameters: Any) -> FixProbeParameters:
    return FixProbeParameters.model_validate({"probe": probe, **parameters})


def probed(probe: str = "liveness", **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {f"{probe}Probe": {**PROBE, **more}}
    return template(container(**fields))


def suffering(name: str = "api-1", probe: str = "liveness", *, restarts: int = 4, **more: Any) -> Manifest:
    one = pod(name, running(ready=False, restarts=restarts), ready=False)
    return {**one, "spec": probed(probe, **more)["spec"]}


def event(about: Manifest, probe: str = "liveness", place: str = "spec.containers{app}") -> Manifest:
    made = warning("Unhealthy", FAILED[probe], about)
    made["involvedObject"]["fieldPath"] = place
    return made


def failing(kind: str = "Deployment", probe: str = "liveness") -> FakeCluster:
    one, other = suffering("api-1", probe), suffering("api-2", probe)
    return FakeCluster().add(workload(kind, probed(probe)), one, other, event(one, probe))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("probe", ["liveness", "readiness", "startup"])
async def test_a_probe_that_fails_is_given_time_once_and_put_back(kind: str, probe: str) -> None:
    cluster = failing(kind, probe)
    parameters = wanted(probe, timeoutSeconds=5, initialDelaySeconds=30)
    done = await check_once_and_undone(cluster, fix, context(workload(kind)), parameters, kind, "api")
    assert done.outputs == {
        "container": "app",
        "before": BEFORE,
        "now": {**BEFORE, "initialDelaySeconds": 30, "timeoutSeconds": 5},
        "failing": 1,
        "restarts": 4,
    }
    path = f"{kind} shop/api: spec.template.spec.containers[name=app].{probe}Probe"
    assert done.changed == (f"{path}.initialDelaySeconds: unset -> 30", f"{path}.timeoutSeconds: 1 -> 5")


async def test_the_message_names_the_evidence_and_not_what_the_probe_answered() -> None:
    done = await fix.perform(
        failing(probe="readiness"), context(), wanted("readiness", timeoutSeconds=5, failureThreshold=2)
    )
    assert done.message == (
        "the readiness probe of container app of Deployment shop/api fails in 1 of 2 pods (api-1; 4 restarts): "
        "timeoutSeconds 1 -> 5, failureThreshold 3 -> 2"
    )


async def test_a_delay_is_taken_away_and_put_back() -> None:
    """The API server keeps no zero: what is read back has to be what was remembered."""
    cluster = FakeCluster().add(workload("Deployment", probed(initialDelaySeconds=30)))
    parameters = wanted(initialDelaySeconds=0, onlyIfFailing=False)
    done = await check_once_and_undone(cluster, fix, context(), parameters, "Deployment", "api")
    assert done.changed[0].endswith("initialDelaySeconds: 30 -> unset")


HEALTHY = {**pod("api-1"), "spec": probed()["spec"]}
RESTARTED_ONLY = suffering()
OTHER_TIMINGS = suffering(timeoutSeconds=2)
UNHARMED = suffering(restarts=0)
LEAVING = suffering()
LEAVING["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"


@pytest.mark.parametrize(
    "there",
    [
        [],
        [HEALTHY, event(HEALTHY)],
        [RESTARTED_ONLY],
        [RESTARTED_ONLY, event(RESTARTED_ONLY, "readiness")],
        [RESTARTED_ONLY, event(RESTARTED_ONLY, place="spec.containers{proxy}")],
        [RESTARTED_ONLY, {**event(RESTARTED_ONLY), "reason": "BackOff"}],
        [UNHARMED, event(UNHARMED)],
        [OTHER_TIMINGS, event(OTHER_TIMINGS)],
        [LEAVING, event(LEAVING)],
    ],
)
async def test_a_probe_that_is_not_seen_to_fail_is_left_alone(there: list[Manifest]) -> None:
    cluster = FakeCluster().add(workload("Deployment", probed()), *there)
    done = await fix.perform(cluster, context(), wanted(timeoutSeconds=5))
    assert (done.acted, cluster.writes) == (False, [])
    assert "is not seen to fail in any of" in done.message
    assert done.outputs["now"] == BEFORE


async def test_a_probe_can_be_changed_without_looking_whether_it_fails() -> None:
    cluster = FakeCluster().add(workload("Deployment", probed()))
    cluster.forbidden |= {"list Pod", "list Event"}
    assert (await fix.perform(cluster, context(), wanted(timeoutSeconds=5, onlyIfFailing=False))).acted


async def test_a_probe_that_is_absent_is_not_made() -> None:
    cluster = failing(probe="readiness")
    with pytest.raises(StepError, match=r"liveness probe of container app of .* does not exist") as caught:
        await fix.perform(cluster, context(), wanted(timeoutSeconds=5))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"failureThreshold": 31}, "alone for 310 s .30 s now.; at most 300 s are allowed"),
        ({"initialDelaySeconds": 300}, "alone for 330 s"),
        ({"timeoutSeconds": 120}, "alone for 360 s"),
        (
            {"periodSeconds": 20, "maxSecondsToFail": 59},
            "alone for 60 s .30 s now.; at most 59 s are allowed",
        ),
    ],
)
async def test_a_probe_is_not_loosened_beyond_the_cap(parameters: dict[str, Any], told: str) -> None:
    cluster = failing()
    with pytest.raises(StepError, match=told) as caught:
        await fix.perform(cluster, context(), wanted(**parameters))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_probe_that_is_looser_than_the_cap_may_be_tightened() -> None:
    cluster = FakeCluster().add(workload("Deployment", probed(failureThreshold=100)))
    parameters = wanted(failureThreshold=50, onlyIfFailing=False)
    assert (await fix.perform(cluster, context(), parameters)).acted


@pytest.mark.parametrize("threshold", [30, 3])
async def test_up_to_the_cap_it_is_loosened_and_what_is_there_already_is_left(threshold: int) -> None:
    cluster = failing()
    done = await fix.perform(cluster, context(), wanted(failureThreshold=threshold))
    assert done.acted == (threshold == 30)


async def test_a_paused_deployment_is_refused() -> None:
    cluster = FakeCluster().add(workload("Deployment", probed(), paused=True))
    with pytest.raises(StepError, match="is paused"):
        await fix.perform(cluster, context(), wanted(timeoutSeconds=5))


async def test_undo_refuses_where_someone_changed_the_timing_since() -> None:
    changed = probed(timeoutSeconds=9)
    parameters = wanted(timeoutSeconds=5, onlyIfFailing=False)
    cluster = FakeCluster().add(workload("Deployment", probed()))
    await check_undo_refuses(cluster, fix, context(), parameters, {"spec": {"template": changed}})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "at least one of initialDelaySeconds"),
        ({"probe": "health", "timeoutSeconds": 5}, "'liveness', 'readiness' or 'startup'"),
        ({"timeoutSeconds": 0}, "greater than or equal to 1"),
        ({"failureThreshold": 121}, "less than or equal to 120"),
        ({"periodSeconds": 301}, "less than or equal to 300"),
        ({"initialDelaySeconds": -1}, "greater than or equal to 0"),
        ({"timeoutSeconds": 5, "httpGet": {}}, "Extra inputs"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_what_is_looked_at_needs_rights() -> None:
    target = ObjectRef("apps/v1", "DaemonSet", "shop", "api")
    own = (Right("get", "apps", "daemonsets", ("api",)), Right("patch", "apps", "daemonsets", ("api",)))
    looks = (Right("list", "", "pods"), Right("list", "", "events"))
    assert fix.rights(target, wanted(timeoutSeconds=5)) == (*own, *looks)
    assert fix.rights(target, wanted(timeoutSeconds=5, onlyIfFailing=False)) == own
