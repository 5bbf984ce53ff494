"""Faults that no action but an escape hatch mends."""

from __future__ import annotations

from typing import Final

from apiserver.acting import Place, await_true, deployment
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.core.ports import Manifest

QUOTA: Final = (Where("v1", "resourcequotas", "tight"),)


def settled(place: Place) -> Manifest:
    """A Deployment that has its pods, and a quota that leaves room for more."""
    quota = {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "20"}}}
    place.create("v1", "resourcequotas", quota)
    place.create("apps/v1", "deployments", deployment())
    return place.settled()


def tightened(place: Place) -> None:
    """Another actor leaves no room for the pods that are to replace lost ones."""
    place.patch("v1", "resourcequotas", "tight", {"spec": {"hard": {"pods": "0"}}})
    for pod in place.items("v1", "pods"):
        path = place.path("v1", "pods", pod["metadata"]["name"])
        assert place.admin.request("DELETE", path, {"gracePeriodSeconds": 0}).ok


def too_few(place: Place) -> bool:
    status = place.deployment().get("status", {})
    return int(status.get("readyReplicas", 0)) < 2


def widened(place: Place) -> None:
    place.patch("v1", "resourcequotas", "tight", {"spec": {"hard": {"pods": "20"}}})
    await_true(lambda: not too_few(place), "the pods were not made anew")


SCENARIOS: Final = (
    Scenario(
        "patch_resource",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "name": "tight",
            "patch": {"spec": {"hard": {"pods": "20"}}},
            "expect": {"spec.hard.pods": "0"},
        },
        healthy=settled,
        fault=tightened,
        symptom=too_few,
        changes=QUOTA,
        mended=widened,
        # One of them is the dry run that tells how the API server writes the values.
        writes=2,
    ),
    Scenario(
        "apply_manifest",
        {
            "manifest": {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "tight", "labels": {"widened": "yes"}},
                "spec": {"hard": {"pods": "20"}},
            },
            "force": True,
            "expect": {"spec.hard.pods": "0"},
        },
        healthy=settled,
        fault=tightened,
        symptom=too_few,
        changes=QUOTA,
        mended=widened,
        # One of them is the dry run that tells who owns the fields, and how the API server writes the values.
        writes=2,
        later=("create resourcequotas", "delete resourcequotas"),
    ),
    Scenario(
        "delete_resource",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "name": "tight",
            "expect": {"spec.hard.pods": "0"},
        },
        healthy=settled,
        fault=tightened,
        symptom=too_few,
        changes=QUOTA,
        mended=widened,
        writes=2,
        later=("create resourcequotas",),
    ),
)
