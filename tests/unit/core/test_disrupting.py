"""What one request takes down at once, and when that is more than guards let be unavailable."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.guards import Guards
from kubernaut.core.guards.disrupting import by_change, by_deletion, by_removal, refused, selects
from kubernaut.core.guards.levels import Level, Reach

LEVEL = Level(Reach.CLUSTER, "", Guards())


def workload(kind: str = "Deployment", *, replicas: int = 4, up: int = 4, **spec: Any) -> dict[str, Any]:
    counts = {"availableReplicas": up, "desiredNumberScheduled": replicas, "numberAvailable": up}
    own = {} if kind == "DaemonSet" else {"replicas": replicas}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "uid": "w"},
        "spec": {**own, "selector": selector, "template": {"image": 1}, **spec},
        "status": counts,
    }


def pod(*, ready: bool = True, **meta: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    found = {"name": "p", "namespace": "shop", "uid": "p", "labels": {"app": "web"}, **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": found, "status": {"conditions": conditions}}


def changed(seen: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**copy.deepcopy(seen), "spec": {**seen["spec"], **spec}}


def taken(takes: Any) -> int:
    assert takes is not None
    return int(takes.replicas)


@pytest.mark.parametrize(
    ("seen", "spec", "takes"),
    [
        (workload(), {"replicas": 3}, 1),
        (workload(), {"replicas": 0}, 4),
        (workload(), {"replicas": 9}, 0),
        (workload(), {"paused": True}, 0),
        # Those that are down go first, so they are not taken once more.
        (workload(up=2), {"replicas": 2}, 0),
        (workload(up=2), {"replicas": 1}, 1),
        (workload(), {"template": {"image": 2}}, 1),
        (workload(replicas=3, up=3), {"template": {"image": 2}}, 0),
        (workload(strategy={"type": "Recreate"}), {"template": {"image": 2}}, 4),
        (workload(strategy={"rollingUpdate": {"maxUnavailable": 2}}), {"template": {"image": 2}}, 2),
        (workload(strategy={"rollingUpdate": {"maxUnavailable": "100%"}}), {"template": {"image": 2}}, 4),
        (workload(up=3, strategy={"rollingUpdate": {"maxUnavailable": 2}}), {"template": {"image": 2}}, 1),
        (workload(paused=True, strategy={"type": "Recreate"}), {"template": {"image": 2}}, 0),
        (workload("StatefulSet"), {"template": {"image": 2}}, 1),
        (workload("StatefulSet", updateStrategy={"type": "OnDelete"}), {"template": {"image": 2}}, 0),
        (workload("StatefulSet"), {"replicas": 1}, 3),
        (workload("DaemonSet"), {"template": {"image": 2}}, 1),
        (
            workload("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": "30%"}}),
            {"template": {"image": 2}},
            2,
        ),
        (
            workload("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
            {"template": {"image": 2}},
            0,
        ),
        (workload("ReplicaSet"), {"replicas": 2}, 2),
    ],
)
def test_a_change_takes_down_what_goes_beyond_those_that_are_down(
    seen: dict[str, Any], spec: dict[str, Any], takes: int
) -> None:
    assert taken(by_change(seen, changed(seen, **spec))) == takes


def test_a_deletion_takes_all_unless_the_pods_are_orphaned() -> None:
    assert taken(by_deletion(workload(up=3), "Background")) == 3
    assert taken(by_deletion(workload(up=3), "Orphan")) == 0
    assert by_deletion({"kind": "ConfigMap", "metadata": {"name": "x"}}, "Background") is None


def test_a_pod_counts_where_it_is_ready_and_stays_and_beside_those_that_just_went() -> None:
    assert taken(by_removal(pod(), workload())) == 1
    assert taken(by_removal(pod(ready=False), workload())) == 0
    assert taken(by_removal(pod(deletionTimestamp="now"), workload())) == 0
    takes = by_removal(pod(), workload(up=3), 1)
    assert takes is not None
    assert (takes.down, takes.of) == (2, 4)
    assert by_removal(pod(), {"kind": "Job", "metadata": {"name": "x"}}) is None


def test_one_line_says_who_takes_what_and_how_much_may_be() -> None:
    takes = by_removal(pod(), workload(up=3))
    assert takes is not None
    assert refused(takes, 50, LEVEL) == ""
    assert refused(takes, 25, LEVEL) == (
        "maxUnavailablePercent 25 of the cluster: it would take down 1 of 4 replicas of Deployment web beside 1 that "
        "are unavailable, and at most 1 may be"
    )
    # What takes nothing down is not kept from it by what is down already.
    nothing = by_removal(pod(ready=False), workload(up=0))
    assert nothing is not None
    assert refused(nothing, 0, LEVEL) == ""


def test_a_selector_that_is_empty_or_of_another_namespace_selects_nothing() -> None:
    assert selects(workload(), pod())
    assert not selects(workload(), pod(labels={"app": "db"}))
    assert not selects(workload(), pod(namespace="other"))
    assert not selects(workload(selector={}), pod())
    some = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}
    none = {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}
    assert selects(workload(selector=some), pod())
    assert not selects(workload(selector=none), pod())


amounts = st.one_of(st.integers(0, 12), st.integers(0, 100).map(lambda n: f"{n}%"))


@given(
    replicas=st.integers(1, 12),
    up=st.integers(0, 12),
    wanted=st.integers(0, 14),
    rolls=st.booleans(),
    amount=amounts,
    percent=st.integers(0, 100),
)
def test_what_is_let_through_never_leaves_more_down_than_may_be_by_its_own_doing(
    replicas: int, up: int, wanted: int, rolls: bool, amount: Any, percent: int
) -> None:
    up = min(up, replicas)
    seen = workload(replicas=replicas, up=up, strategy={"rollingUpdate": {"maxUnavailable": amount}})
    desired = changed(seen, replicas=wanted, template={"image": 2 if rolls else 1})
    takes = by_change(seen, desired)
    assert takes is not None
    # By the Deployment controller's own arithmetic, as its documentation has it.
    share = int(amount) if isinstance(amount, int) else replicas * int(amount[:-1]) // 100
    worst = max(replicas - up, replicas - wanted, min(share, replicas) if rolls else 0)
    assert takes.down + takes.replicas == worst
    allowed = replicas * percent // 100
    if refused(takes, percent, LEVEL):
        assert worst > allowed
    else:
        assert worst <= allowed or worst == replicas - up
