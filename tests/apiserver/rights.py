"""Waiting for rights: the API server's authorizer learns of a new Role a moment after it was stored."""

from __future__ import annotations

import time

from localcluster import Cluster
from localcluster.errors import ClusterError


def in_force(cluster: Cluster, namespace: str, user: str, verb: str, resource: str) -> None:
    """Wait until the API server itself says that the user may; fails after 20 s."""
    question = ("auth", "can-i", verb, resource, "-n", namespace, f"--as={user}")
    deadline = time.monotonic() + 20
    while not _yes(cluster, question):
        assert time.monotonic() < deadline, f"{user} still may not {verb} {resource} in {namespace}"


def _yes(cluster: Cluster, question: tuple[str, ...]) -> bool:
    try:
        return cluster.run_kubectl(*question).strip() == "yes"
    except ClusterError:  # kubectl exits 1 for "no"
        return False
