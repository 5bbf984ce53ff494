"""Names of resources, selectors, and what each kind wants."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.actions import pods
from kubernaut.actions.diagnosis import symptoms
from kubernaut.actions.diagnosis.symptoms import Sample
from kubernaut.actions.objects import resource_of
from kubernaut.core.selectors import selector_text
from unit.actions.builders import NOW, pod


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Deployment", "deployments"),
        ("NetworkPolicy", "networkpolicies"),
        ("Ingress", "ingresses"),
        ("Endpoints", "endpoints"),
        ("Certificate", "certificates"),
        ("PodMetrics", "pods"),
    ],
)
def test_resources_are_named_as_apimachinery_guesses_them_or_as_their_api_does(
    kind: str, resource: str
) -> None:
    assert resource_of(kind) == resource


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (None, None),
        ({}, None),
        ({"matchLabels": {}}, None),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        (
            {
                "matchLabels": {"app": "api"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "NotIn", "values": ["x"]},
                    {"key": "team", "operator": "Exists"},
                    {"key": "gone", "operator": "DoesNotExist"},
                ],
            },
            "app=api,tier in (a,b),old notin (x),team,!gone",
        ),
        ({"app": "api"}, "app=api"),
        ("app=api", None),
    ],
)
def test_selectors_are_written_as_list_requests_take_them(selector: Any, text: str | None) -> None:
    """A target that selects nothing must never select everything."""
    assert pods.selector_of({"spec": {"selector": selector}}) == text
    if isinstance(selector, dict) and "matchLabels" in selector:
        assert (selector_text(selector) or None) == text


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ({"kind": "StatefulSet", "spec": {"replicas": 3}}, 3),
        ({"kind": "ReplicaSet", "spec": {}}, 1),
        ({"kind": "DaemonSet", "spec": {}, "status": {"desiredNumberScheduled": 4}}, 4),
        ({"kind": "Job", "spec": {"parallelism": 2}}, 2),
        ({"kind": "Pod", "spec": {}}, 1),
        ({"kind": "Service", "spec": {}}, 2),
    ],
)
def test_each_kind_says_how_many_pods_it_wants(target: dict[str, Any], wanted: int) -> None:
    assert symptoms.desired(Sample(target, [pod("a"), pod("b")], [], NOW)) == wanted


def test_a_failed_job_says_why() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    job = {"kind": "Job", "spec": {"parallelism": 0}, "status": {"conditions": [failed]}}
    assert symptoms.symptoms(Sample(job, [], [], NOW)) == ["BackoffLimitExceeded"]
