"""Syncs that runs pause, or are refused for: owners hidden, pauses pretended, records forged, others' syncs."""

from __future__ import annotations

import json
from typing import Any

from apiserver.rest import MERGE_PATCH
from e2e.feed import Manifest
from e2e.gitops import APPLY_PATCH, ARGO, application, grant, install
from e2e.websteps import gate
from e2e.world import Place, until, web
from escalation.played.story import ENGINE, Flow, Play, Played, flow, outcome
from escalation.tables.gitops import RECORDS, SYNCS
from kubernaut.api.names import PAUSED_ANNOTATION

OWNERS = "owners of fields hidden"
_TRACKING = "argocd.argoproj.io/tracking-id"
_BY_HAND: Manifest = {"spec": {"syncPolicy": {"automated": None}}}
_FORGED = {"prune": True, "selfHeal": True, "allowEmpty": True}


def _staged(place: Place, name: str, app: str = "") -> str:
    """Have an Application that heals itself keep a Deployment; return the Application's name."""
    install(place.world)
    app = app or f"{place.namespace}-{name}"
    answer = place.world.admin.request("POST", ARGO, application(app))
    assert answer.ok or answer.status == 409, answer
    _kept(place, name, app)
    return app


def _kept(place: Place, name: str, app: str) -> None:
    """Apply a Deployment as Argo CD does."""
    made = web(replicas=1)
    made["metadata"]["name"] = name
    made["metadata"].setdefault("labels", {})["app.kubernetes.io/instance"] = app
    made["metadata"]["annotations"] = {_TRACKING: f"{app}:apps/Deployment:{place.namespace}/{name}"}
    path, more = place.path("Deployment", name), {"fieldManager": "argocd-controller", "force": "true"}
    answer = place.world.admin.request("PATCH", path, made, content_type=APPLY_PATCH, **more)
    assert answer.ok, answer


def _changed(place: Place, app: str, body: Manifest) -> None:
    answer = place.world.admin.request("PATCH", f"{ARGO}/{app}", body, content_type=MERGE_PATCH)
    assert answer.ok, answer


def _growing(name: str, *steps: Manifest, **spec: Any) -> Flow:
    grow = {"name": "grow", "action": "scale_deployment", "with": {"replicas": 2}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return flow(grow, *steps, target=target, **spec)


def _record() -> Manifest:
    holders = {"any-run": "2099-01-01T00:00:00+00:00"}
    body = json.dumps({"before": _FORGED, "holders": holders}, sort_keys=True)
    text = json.dumps({"pause": body, "sig": "0" * 64})
    return {"metadata": {"annotations": {PAUSED_ANNOTATION: text}}}


def _hidden(place: Place, name: str) -> str:
    _staged(place, name)
    note = {_TRACKING: f"nobody:apps/Deployment:{place.namespace}/another"}
    place.change("Deployment", name, {"metadata": {"annotations": note}})
    return outcome(_growing(name).started(place, name).end())


def _pretended(place: Place, name: str) -> str:
    _changed(place, _staged(place, name), _record())
    return outcome(_growing(name).started(place, name).end())


def _synced_by_hand(place: Place, name: str) -> str:
    _changed(place, _staged(place, name), _BY_HAND)
    return outcome(_growing(name).started(place, name).end())


def _paused(forged: bool) -> Play:
    """Play a run that pauses a sync until its end, and say whether what was put back is what had been there."""

    def play(place: Place, name: str) -> str:
        app = _staged(place, name)
        guards = {"gitOps": "PauseSync", "pauseSync": {"expiresAfter": "1h", "resume": "AtRunEnd"}}
        waits = gate("gate", "grow", label=f"go-{name}")
        waits["wait"]["object"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        waits["wait"]["until"] = f"'go-{name}' in object.metadata.labels"
        one = _growing(name, waits, guards=guards).started(place, name)
        one.step_is("gate", "Waiting")
        path = f"{ARGO}/{app}"
        before = place.world.admin.request("GET", path).body
        assert "automated" not in before["spec"].get("syncPolicy", {}), before
        if forged:
            _changed(place, app, _record())
        place.label(**{f"go-{name}": "yes"})
        told = outcome(one.end())
        assert told == "", told
        until("the pause was looked at", lambda: not _tickets(place, one.uid))
        now = place.world.admin.request("GET", path).body["spec"].get("syncPolicy", {}).get("automated")
        assert now != _FORGED, "what was forged was put back"
        return "" if now == {"prune": True, "selfHeal": True} else "nothing was put back"

    return play


def _tickets(place: Place, run_uid: str) -> bool:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kubernaut-system/leases"
    found = place.world.admin.request("GET", leases, labelSelector="kubernaut.io/pause=true").body["items"]
    return any(one["spec"]["holderIdentity"] == run_uid for one in found)


def _of_another(place: Place, name: str) -> str:
    """Have the Deployment say that another tenant's Application keeps it."""
    place.world.refusing.add("argocd")
    _staged(place, name, "another-tenants")
    told = outcome(_growing(name, guards={"gitOps": "PauseSync"}).started(place, name).end())
    theirs = place.world.admin.request("GET", f"{ARGO}/another-tenants").body
    assert theirs["spec"]["syncPolicy"]["automated"]["selfHeal"], theirs
    return told


def _of_its_own(place: Place, name: str) -> str:
    install(place.world)
    grant(place, "get", "patch")
    _staged(place, name, place.namespace)
    return outcome(_growing(name, guards={"gitOps": "PauseSync"}).started(place, name).end())


ROWS: list[Played] = [
    Played(OWNERS, "has it track another object", ENGINE, "KeptByAnother", _hidden, _synced_by_hand),
    Played(OWNERS, "says that it is paused", ENGINE, "KeptByAnother", _pretended, _synced_by_hand),
    Played(
        RECORDS, "has another policy put back", ENGINE, "nothing was put back", _paused(True), _paused(False)
    ),
    Played(SYNCS, "says that it keeps an object", ENGINE, "can't be paused", _of_another, _of_its_own, False),
]
