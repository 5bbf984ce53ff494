"""Over the whole session: every right was used, none lacked, and no write went without a precondition."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import yaml

from e2e.test_nodes import platform
from e2e.websteps import chain
from e2e.world import OPERATOR, ROOT, World, until
from localrun.audit import Request

Right = tuple[str, str, str]

# Not a request of its own: the admission policy that guards the finalizer asks whether the operator has it.
ASKED_BY_POLICY: Right = ("kubernaut.io", "workflowexecutions/finalizers", "update")


def granted(folder: str, role: str) -> set[Right]:
    """Return group, resource and verb of every right that a shipped role of the operator gives."""
    found: set[Right] = set()
    for manifest in yaml.safe_load_all((ROOT / "manifests" / folder / "rbac.yaml").read_text()):
        if manifest["kind"] in ("Role", "ClusterRole") and manifest["metadata"]["name"] == role:
            found |= {
                (group, resource, verb)
                for rule in manifest["rules"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    return found


def in_outage(world: World, request: Request) -> bool:
    """Whether a request came while the API server was stopped or starting: then it knows no roles yet, and does not
    tell whom somebody could not act as."""
    at = datetime.fromisoformat(request.at)
    return any(began <= at <= ended for began, ended in world.outages)


def test_every_right_of_the_operator_is_used_and_none_lacks(world: World) -> None:
    # Once through everything that a run and its Workflow come by, to the snapshot that nobody needs any more.
    with world.other_operator(world.postgres.dsn, {"KUBERNAUT_RESYNC": "2s"}):
        place = world.place()
        place.workflow(*chain(2), ttlSecondsAfterFinished=0)
        run = place.run()
        run.end()
        world.runs.wait_gone(run.uid)
        place.delete("Workflow", "flow")
        until("the snapshot is swept away", lambda: not place.list("ControllerRevision"))
        # A run that wants to act beyond its namespace has that one's label looked at.
        place = platform(world)
        place.workflow(*chain(1), target={"apiVersion": "v1", "kind": "Node", "name": "no-such-node"})
        assert place.run().end()["reason"] == "TargetNotFound"
    own = [request for request in world.requests() if request.user == OPERATOR and request.resource]
    used = {(request.group, request.what, request.verb) for request in own if request.code < 400}
    refused = Counter(
        (r.verb, r.what, r.namespace or r.refused_in, r.name, r.code, r.at)
        for r in own
        if r.code in (401, 403)
        and (r.namespace or r.refused_in) not in world.refusing
        and not in_outage(world, r)
    )
    always = granted("base", "kubernaut-operator")
    unused = always - used - {ASKED_BY_POLICY}
    print(f"granted and never used: {sorted(unused) or 'nothing'}")
    assert not refused
    # An operator that remembers has one more role.
    assert not used - always - granted("remember", "kubernaut-remember")
    assert not unused


def test_every_write_of_the_session_carries_a_precondition(world: World) -> None:
    place = world.place()
    place.workflow(*chain(2))
    place.run().end()
    writes = [r for r in world.requests() if r.by == OPERATOR and r.mutates and not r.dry_run]
    # Secrets and ConfigMaps are not in the log's bodies; tests/apiserver looks at those requests themselves.
    without = [r for r in writes if r.body is not None and not r.has_precondition]
    assert not without
    bare = {r.resource for r in writes if r.body is None and r.code < 400}
    assert bare <= {"configmaps", "secrets"}
    kinds = Counter(f"{r.verb} {r.what}" for r in writes)
    print(f"{len(writes)} writes: {dict(kinds)}")
    assert kinds["patch deployments"] >= 2
