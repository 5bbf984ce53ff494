"""Whole runs in a copy of a small cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import Guards
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.diffs import Field
from kubernaut.simulation.simulating import shadow_of, simulate
from unit.simulation.world import NOW, node, rolled_out, simulated, there, wanted, workflow

SCALE: dict[str, Any] = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 4}}
RESTART: dict[str, Any] = {"name": "restart", "action": "restart_deployment"}


async def test_what_a_step_changes_and_how_controllers_react_is_told() -> None:
    result, shadow = await simulated(workflow(SCALE), [node(), *rolled_out()])
    assert result.through, result.status.message
    changed = {str(one.object): one for one in result.diffs}
    deployment = changed["Deployment shop/api"]
    assert Field("spec.replicas", 2, 4) in deployment.fields
    assert deployment.by == ("scale", "controllers")
    assert Field("spec.replicas", 2, 4) in changed["ReplicaSet shop/api-1"].fields
    assert changed["ReplicaSet shop/api-1"].by == ("controllers",)
    assert len(there(shadow, "Pod")) == 4
    assert (result.radius.objects, result.radius.made, result.radius.gone) == (1, 2, ())
    assert result.radius.namespaces == ("shop",)
    assert "new pods of ReplicaSet shop/api-1 are assumed to get ready" in result.assumptions


async def test_a_restart_replaces_every_pod() -> None:
    result, shadow = await simulated(workflow(RESTART), [node(), *rolled_out()])
    assert result.through
    assert result.radius.gone == ("Pod shop/api-1-0", "Pod shop/api-1-1")
    assert result.radius.made == 2
    sets = {one["metadata"]["name"]: one["spec"]["replicas"] for one in there(shadow, "ReplicaSet")}
    assert sorted(sets.values()) == [0, 2]
    assert sets["api-1"] == 0


async def test_pods_that_fit_nowhere_keep_a_rollout_from_its_end() -> None:
    spec = workflow(RESTART, verify={"expect": ["target.status.updatedReplicas == 2"], "timeout": "2m"})
    full = [node(cpu="2"), *rolled_out(strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})]
    result, shadow = await simulated(spec, full)
    assert not result.through
    assert result.status.phase is RunPhase.FAILED
    assert result.status.verdict is Verdict.NOT_FIXED
    assert any(
        "stays Pending: 0/1 nodes are available: 1 Insufficient cpu" in one for one in result.assumptions
    )
    pending = [pod for pod in there(shadow, "Pod") if not pod["spec"].get("nodeName")]
    assert len(pending) == 1
    assert len(there(shadow, "Pod")) == 3, "no pod may go before the new one is there"


async def test_a_step_that_would_take_down_too_much_is_refused_as_in_a_real_run() -> None:
    levels = (Level(Reach.CLUSTER, "", Guards(max_unavailable_percent=25)),)
    for replicas, through in ((2, False), (3, True)):
        scale = {"name": "scale", "action": "scale_deployment", "with": {"replicas": replicas}}
        shadow = shadow_of(NOW, objects=[node(), *rolled_out(4, cpu="100m")])
        result = await simulate(replace(wanted(workflow(scale)), levels=levels), shadow)
        assert result.through == through, result.status.message
        assert ("would take down 2 of 4 replicas" in str(result.status.message)) != through


async def test_a_step_sees_what_the_one_before_it_did() -> None:
    second = {
        "name": "again",
        "action": "scale_deployment",
        "dependsOn": ["scale"],
        "when": "target.spec.replicas == 4",
        "with": {"replicas": 1},
    }
    result, shadow = await simulated(workflow(SCALE, second), [node(), *rolled_out()])
    assert result.through
    assert [(one.name, one.phase) for one in result.steps] == [("scale", "Succeeded"), ("again", "Succeeded")]
    assert len(there(shadow, "Pod")) == 1


async def test_waits_take_no_time_but_are_counted() -> None:
    wait = {"name": "wait", "wait": {"duration": "1h"}}
    result, _ = await simulated(workflow(wait, timeout="2h"), [node(), *rolled_out()])
    assert result.through
    assert result.took.total_seconds() == 3600


async def test_approvals_are_assumed_and_that_is_said() -> None:
    ask = {"name": "ask", "approval": {"message": "May I?"}}
    result, _ = await simulated(workflow(ask, {**SCALE, "dependsOn": ["ask"]}), [node(), *rolled_out()])
    assert result.through
    assert "who is asked by step ask is assumed to approve" in result.assumptions


AUTOSCALER: Manifest = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "api", "namespace": "shop", "uid": "uid-hpa", "resourceVersion": "7"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
        "minReplicas": 1,
        "maxReplicas": 3,
    },
}


async def test_what_an_action_refuses_is_refused_here_too() -> None:
    result, _ = await simulated(workflow(SCALE), [node(), *rolled_out(), AUTOSCALER])
    assert not result.through
    assert "HorizontalPodAutoscaler api" in str(result.status.message)
    assert result.diffs == ()


async def test_an_autoscaler_scales_back_what_is_beyond_its_bounds() -> None:
    shadow = shadow_of(NOW, objects=[node(), *rolled_out(), AUTOSCALER])
    ref = ObjectRef("apps/v1", "Deployment", "shop", "api")
    await shadow.patch(ref, {"spec": {"replicas": 5}}, resource_version="7")
    await Settling(shadow).settle()
    assert (await shadow.get(ref))["spec"]["replicas"] == 3
    assert len(there(shadow, "Pod")) == 3
    told = "HorizontalPodAutoscaler api scales Deployment shop/api from 5 to 3"
    assert told in shadow.assumptions.all


async def test_a_quota_keeps_controllers_from_making_pods() -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": "shop", "uid": "uid-quota", "resourceVersion": "7"},
        "spec": {"hard": {"pods": "3"}},
        "status": {"used": {"pods": "2"}},
    }
    result, shadow = await simulated(workflow(SCALE), [node(), *rolled_out(), quota])
    assert len(there(shadow, "Pod")) == 3
    assert any("exceeded quota: few, requested: pods=1" in one for one in result.assumptions)


async def test_secret_values_are_not_told() -> None:
    patch = {
        "name": "patch",
        "action": "patch_resource",
        "with": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "settings",
            "patch": {"data": {"password": "hunter2", "level": "info"}},
        },
    }
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-cm", "resourceVersion": "7"},
        "data": {"password": "hunter1", "level": "debug"},
    }
    result, _ = await simulated(workflow(patch), [node(), *rolled_out(), settings])
    assert result.through, result.status.message
    assert "hunter" not in str(result.wire())
    fields = next(one for one in result.diffs if one.object.kind == "ConfigMap").fields
    assert Field("data.password", "***", "***") in fields


async def test_raised_bounds_let_an_autoscaler_have_what_its_metrics_asked_for_last() -> None:
    half = {"type": "Utilization", "averageUtilization": 50}
    full = {"name": "memory", "current": {"averageUtilization": 100}}
    limited = {
        **AUTOSCALER,
        "spec": {
            **AUTOSCALER["spec"],
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": half}}],
        },
        "status": {"currentReplicas": 2, "currentMetrics": [{"type": "Resource", "resource": full}]},
    }
    shadow = shadow_of(NOW, objects=[node(cpu="8"), *rolled_out(), limited])
    ref = ObjectRef("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "api")
    await shadow.patch(ref, {"spec": {"maxReplicas": 6}}, resource_version="7")
    await Settling(shadow).settle()
    assert len(there(shadow, "Pod")) == 4


async def test_a_metric_is_not_known_beforehand_and_no_success() -> None:
    metric = {"name": "error-rate", "query": "errors", "expect": "value < 0.05"}
    verify = {"expect": ["target.spec.replicas == 3"], "metrics": [metric], "stabilization": "1m"}
    step = {"name": "grow", "action": "scale_deployment", "with": {"replicas": 3}}
    result, _ = await simulated(workflow(step, verify=verify), [node(), *rolled_out()])
    assert result.status.verdict == "Inconclusive"
    assert result.status.message == "Metric error-rate is not known: a simulation can't know what it will be."
    assert any("no metric is known beforehand" in one for one in result.assumptions)
