"""What an uninstalled release has left behind, labelled as the release's or not."""

from __future__ import annotations

import json
import re
from typing import Any

from apiserver.acting import await_true
from chart_overlays import NAMESPACE
from localcluster import Cluster

OURS = "app.kubernetes.io/instance=kubernaut"
# Every namespace has these, a moment after it was made.
_OF_EACH_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
# Events go by themselves; metrics are no objects.
_PASSING = re.compile(r"events$|events\.|\w+\.metrics\.")


def of_the_release(cluster: Cluster) -> set[str]:
    """Return what there still is of the release, of all kinds, in all namespaces."""
    return _names(cluster, _kinds(cluster), "-A", "-l", OURS)


def in_its_namespace(cluster: Cluster) -> set[str]:
    """Return all that is in the release's namespace, whoever made it."""
    return _names(cluster, _kinds(cluster, "--namespaced"), "-n", NAMESPACE) - _OF_EACH_NAMESPACE


def new_since(before: set[str], cluster: Cluster) -> set[str]:
    """Return what is in that namespace beyond that, once the garbage collector has nothing to do there."""
    kinds = _kinds(cluster, "--namespaced")

    def owned() -> list[Any]:
        found = json.loads(cluster.run_kubectl("get", kinds, "-n", NAMESPACE, "-o", "json"))["items"]
        return [one["metadata"] for one in found if one["metadata"].get("ownerReferences")]

    await_true(lambda: owned() == [], "what was owned by something stays")
    return in_its_namespace(cluster) - before


def _kinds(cluster: Cluster, *which: str) -> str:
    found = cluster.run_kubectl("api-resources", "--verbs=list", "-o", "name", *which).split()
    return ",".join(kind for kind in found if not _PASSING.match(kind))


def _names(cluster: Cluster, *asked: str) -> set[str]:
    return set(cluster.run_kubectl("get", *asked, "--ignore-not-found", "-o", "name").split())
