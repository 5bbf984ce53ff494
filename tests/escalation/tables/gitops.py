"""Syncs that are paused: objects of Argo CD, what a pause leaves there, and the Leases that say where pauses are."""

from __future__ import annotations

import json
from typing import Any

from escalation.rows import (
    ADA,
    ANALYST,
    APPLICATION,
    ARGO,
    EDITH,
    HEAD,
    KEEPER,
    MALLORY,
    MILLER,
    OPERATOR,
    RBAC,
    REPAIR,
    ROOT,
    SYSTEM,
    Row,
    delete,
    get,
    group,
    patch,
    post,
    put,
)
from kubernaut.api.names import LABEL_PAUSE, PAUSED_ANNOTATION, TICKET_ANNOTATION

SYNCS = "another tenant's sync paused"
RECORDS = "pause records forged"
TICKETS = "tickets of pauses forged"
_PAUSED = {"spec": {"syncPolicy": {"automated": None}}}
_LATER = "2099-01-01T00:00:00+00:00"
Object = dict[str, Any]


def _application(name: str = "") -> str:
    return group("argoproj.io/v1alpha1", "applications", ARGO, name)


def _lease(name: str = "") -> str:
    return group("coordination.k8s.io/v1", "leases", SYSTEM, name)


def _record(holder: str = "any-run") -> Object:
    """Return what would make a sync go on as somebody else likes, if it were believed."""
    before = {"prune": True, "selfHeal": True, "allowEmpty": True}
    body = json.dumps({"before": before, "holders": {holder: _LATER}}, sort_keys=True)
    return {"metadata": {"annotations": {PAUSED_ANNOTATION: json.dumps({"pause": body, "sig": "forged"})}}}


def _ticket(until: str = _LATER) -> Object:
    """Return a Lease that has the operator act on an Application as an account of somebody else."""
    owner = {"api_version": "argoproj.io/v1alpha1", "kind": "Application", "namespace": ARGO, "name": "mill"}
    told = {"owner": owner, "namespace": "esc-mill", "account": "kubernaut-repair", "until": until}
    meta = {"labels": {LABEL_PAUSE: "true"}, "annotations": {TICKET_ANNOTATION: json.dumps(told)}}
    return {"metadata": {"name": "kubernaut-pause-forged", **meta}, "spec": {"holderIdentity": "any-run"}}


def _syncs() -> list[Row]:
    shop, mill = _application("shop"), _application("mill")
    own, millers = patch(REPAIR, shop, _PAUSED), patch(MILLER, mill, _PAUSED)
    elsewhere = {"spec": {"source": {"repoURL": "https://example.com/other.git"}}}
    return [
        Row(SYNCS, "pauses it", own.at(mill), RBAC, own),
        Row(SYNCS, "pauses it", millers.at(shop), RBAC, millers),
        Row(SYNCS, "replaces it", put(REPAIR, shop, elsewhere), RBAC, own),
        Row(SYNCS, "deletes it, so that nobody syncs", delete(REPAIR, shop), RBAC, get(REPAIR, shop)),
        Row(SYNCS, "looks at the sync of another", get(REPAIR, mill), RBAC, get(REPAIR, shop)),
        Row(SYNCS, "lists all syncs", get(REPAIR, _application()), RBAC, get(REPAIR, shop)),
        Row(SYNCS, "has its own Application", post(REPAIR, _application(), _own()), RBAC, own),
        # It pauses as the run's account, and has no right of its own to it.
        *(Row(SYNCS, "pauses it", own.by(who), RBAC, own) for who in (OPERATOR, ANALYST, ADA, EDITH, HEAD)),
    ]


def _own() -> Object:
    return {**APPLICATION, "metadata": {"name": "new"}, "spec": {"project": "default"}}


def _records() -> list[Row]:
    shop, mill = _application("shop"), _application("mill")
    gone = {"metadata": {"annotations": {PAUSED_ANNOTATION: None}}}
    own = patch(REPAIR, shop, _record())
    return [
        Row(RECORDS, "says what is put back", own.at(mill), RBAC, own),
        *(Row(RECORDS, "says what is put back", own.by(who), RBAC, own) for who in (HEAD, MALLORY, OPERATOR)),
        Row(
            RECORDS, "says who holds it", patch(MILLER, shop, _record("mine")), RBAC, own.by(MILLER).at(mill)
        ),
        Row(RECORDS, "takes it away", patch(HEAD, shop, gone), RBAC, patch(REPAIR, shop, gone)),
        Row(RECORDS, "takes it away", patch(REPAIR, mill, gone), RBAC, patch(REPAIR, shop, gone)),
    ]


def _tickets() -> list[Row]:
    there = _lease("esc-pause")
    made = post(OPERATOR, _lease(), _ticket())
    later = {"metadata": {"annotations": _ticket()["metadata"]["annotations"]}}
    now = {"metadata": {"annotations": _ticket("2020-01-01T00:00:00+00:00")["metadata"]["annotations"]}}
    hidden = {"metadata": {"labels": {LABEL_PAUSE: None}}}
    changed = patch(OPERATOR, there, later)
    return [
        *(
            Row(TICKETS, "writes one", made.by(who), RBAC, made)
            for who in (REPAIR, MALLORY, HEAD, ADA, KEEPER)
        ),
        Row(TICKETS, "has a pause last longer", changed.by(REPAIR), RBAC, changed),
        Row(TICKETS, "has a pause last longer", changed.by(HEAD), RBAC, changed),
        Row(TICKETS, "has a pause end now", patch(MALLORY, there, now), RBAC, patch(OPERATOR, there, now)),
        Row(TICKETS, "has a pause end now", patch(REPAIR, there, now), RBAC, patch(OPERATOR, there, now)),
        Row(TICKETS, "hides one", patch(REPAIR, there, hidden), RBAC, patch(OPERATOR, there, hidden)),
        Row(TICKETS, "takes one away", delete(REPAIR, there), RBAC, delete(OPERATOR, there)),
        Row(TICKETS, "takes one away", delete(MALLORY, there), RBAC, delete(OPERATOR, there)),
        Row(TICKETS, "reads them", get(REPAIR, _lease()), RBAC, get(OPERATOR, _lease())),
        Row(TICKETS, "reads them", get(HEAD, _lease()), RBAC, get(ROOT, _lease())),
    ]


ROWS = [*_syncs(), *_records(), *_tickets()]
