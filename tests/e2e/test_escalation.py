"""Each attempt of tests/escalation/played is refused by lint or the operator, and its allowed twin passes.

All but a few act as an account that may do everything in the cluster, so that no missing right comes first. What the
API server decides alone is tried in tests/apiserver/test_escalation.py.
"""

from __future__ import annotations

import itertools

import pytest

from e2e.websteps import note
from e2e.world import REPAIR, Place, World, web
from escalation.played import ROWS
from escalation.played.story import Played, flow

_numbers = itertools.count(1)
_CLASS = "/apis/networking.k8s.io/v1/ingressclasses"
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture(scope="module")
def mighty(world: World) -> Place:
    """A namespace whose account may do everything."""
    place = prepared(world)
    subject = {"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    body = {"metadata": {"name": f"mighty-{place.namespace}"}, "roleRef": ref, "subjects": [subject]}
    assert world.admin.request("POST", _BINDINGS, body).ok
    place.await_right(place.account, {"namespace": "", "verb": "patch", "resource": "nodes"}, True)
    body = {"metadata": {"name": "esc-class"}, "spec": {"controller": "example.com/none"}}
    assert world.admin.request("POST", _CLASS, body).status in (201, 409)
    return place


@pytest.fixture(scope="module")
def weak(world: World) -> Place:
    """A namespace whose account has the rights that are shipped."""
    return prepared(world)


def prepared(world: World) -> Place:
    place = world.place(deployment=False)
    # The operator is refused where it acts as accounts that it may not act as.
    world.refusing.add(place.namespace)
    place.create("Deployment", web())
    settings = {"metadata": {"name": "settings"}, "data": {"a": "x"}}
    path = f"/api/v1/namespaces/{place.namespace}/configmaps"
    assert world.admin.request("POST", path, settings).ok
    assert flow(note("plain")).declared(place, "plain") == ""
    assert flow(note("foreign"), serviceAccountName="default").declared(place, "foreign") == ""
    return place


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_attempt_is_refused_and_its_twin_is_not(mighty: Place, weak: Place, row: Played) -> None:
    place, number = mighty if row.mighty else weak, next(_numbers)
    told = row.attempt(place, f"try-{number}")
    assert row.says in told, told or "nobody refused it"
    twin = row.twin(place, f"twin-{number}")
    assert twin == "", f"the twin was refused: {twin}"
