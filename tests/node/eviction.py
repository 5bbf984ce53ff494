"""The operator's pods evicted through the Eviction API, as a drain does it."""

from __future__ import annotations

from apiserver.acting import await_true
from apiserver.rest import Answer, Client
from chart_overlays import NAMESPACE
from localcluster import Cluster

FIRST, SECOND = "kubernaut-operator-0", "kubernaut-operator-1"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def evict(admin: Client, pod: str, **query: str) -> Answer:
    """Ask for an eviction."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    return admin.request("POST", f"{_PODS}/{pod}/eviction", eviction, **query)


def one_at_a_time(cluster: Cluster) -> None:
    """Evict one of two replicas; the other may not follow it."""
    with Client(cluster.kubeconfig) as admin:
        await_true(lambda: may_be_evicted(admin, SECOND), "the budget does not see two that are ready")
        uid = admin.request("GET", f"{_PODS}/{FIRST}").body["metadata"]["uid"]
        assert evict(admin, FIRST).ok
        refused = evict(admin, SECOND)
        assert refused.status == 429, refused
        causes = refused.body["details"]["causes"]
        assert [one["reason"] for one in causes] == ["DisruptionBudget"], refused
        assert "kubernaut-operator" in causes[0]["message"]
        await_true(lambda: _uid(admin, FIRST) != uid, "the pod does not go")
        # Gone or starting, it is away.
        assert evict(admin, SECOND, dryRun="All").status == 429


def again(cluster: Cluster) -> None:
    """Wait until both are back, which is when the other may go."""
    with Client(cluster.kubeconfig) as admin:
        await_true(lambda: may_be_evicted(admin, SECOND), "the evicted pod does not come back")


def may_be_evicted(admin: Client, pod: str) -> bool:
    """Whether an eviction would be granted now."""
    answer = evict(admin, pod, dryRun="All")
    assert answer.ok or answer.status == 429, answer
    return answer.ok


def _uid(admin: Client, pod: str) -> str | None:
    answer = admin.request("GET", f"{_PODS}/{pod}")
    return answer.body["metadata"]["uid"] if answer.ok else None
