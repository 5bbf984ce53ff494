"""Patroni on Kubernetes: its state stands in annotations, of pods for members, of an object of its own for the lead.

A change of the lead is asked for by annotations of ``<scope>-failover``: what `patronictl switchover` has its REST
API write there. Whoever leads reads it, acts on it where it can, and takes the annotations away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.actions.databases.members import DatabaseParameters, Member, PatroniObjects, View, pod_trouble
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

ASKED_FOR: Final = ("leader", "member", "scheduled_at")
_LEADERS: Final = frozenset({"primary", "master", "standby_leader"})
_RUNNING: Final = "running"
#: how long after its time a lock is still believed: clocks of two machines differ
_GRACE: Final = timedelta(seconds=10)


def lead_ref(namespace: str, scope: str, objects: PatroniObjects) -> ObjectRef:
    """Return the object that says who leads."""
    name = scope if objects is PatroniObjects.ENDPOINTS else f"{scope}-leader"
    return ObjectRef("v1", objects.value, namespace, name)


def failover_ref(namespace: str, scope: str, objects: PatroniObjects) -> ObjectRef:
    """Return the object by which a change of the lead is asked for."""
    return ObjectRef("v1", objects.value, namespace, f"{scope}-failover")


async def look(
    cluster: Cluster, namespace: str, scope: str, parameters: DatabaseParameters, now: datetime
) -> View:
    """Return a database.

    Raises:
        ClusterError: as the API server answers.
    """
    lead = await cluster.get(lead_ref(namespace, scope, parameters.patroni_objects))
    try:
        asked = await cluster.get(failover_ref(namespace, scope, parameters.patroni_objects))
    except NotFound:
        asked = None
    selector = f"{parameters.scope_label}={scope}"
    found = await cluster.list("v1", "Pod", namespace, label_selector=selector)
    return view(lead, asked, found, now)


def view(lead: Manifest, asked: Manifest | None, found: Sequence[Manifest], now: datetime) -> View:
    """Return a database from the objects that Patroni keeps, and from its pods."""
    told = lead["metadata"].get("annotations") or {}
    leader = str(told.get("leader") or "")
    states = {pod["metadata"]["name"]: (_state(pod), pod) for pod in found if _state(pod)}
    reached = _number(told.get("optime"))
    timeline = _number(states[leader][0].get("timeline")) if leader in states else None
    members = [
        Member(
            name,
            name == leader,
            _unfit_leader(told, state, pod, now) if name == leader else _unfit(state, pod, timeline),
            _lag(state, reached),
            pod,
        )
        for name, (state, pod) in sorted(states.items())
    ]
    return View(
        ref=ObjectRef.of(lead),
        primary=leader,
        epoch=f"{leader}@{told.get('acquireTime', '')}#{told.get('transitions', '')}",
        busy=_busy(asked),
        members=members,
        labels=dict(lead["metadata"].get("labels") or {}),
    )


def _busy(asked: Manifest | None) -> str:
    told = (asked or {"metadata": {}})["metadata"].get("annotations") or {}
    if not told.get("leader") and not told.get("member"):
        return ""
    return f"a change from {told.get('leader') or 'nobody'} to {told.get('member') or 'any'} is asked for already"


def _state(pod: Manifest) -> Mapping[str, Any]:
    """Return what a member last told of itself; nothing where its pod is none of a member."""
    text = (pod["metadata"].get("annotations") or {}).get("status", "")
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        told = {}
    return told if isinstance(told, dict) else {}


def _lost(told: Mapping[str, str], now: datetime) -> str:
    """Return that the lock on the lead was not renewed in time, as far as written times tell."""
    try:
        until = datetime.fromisoformat(told["renewTime"]) + timedelta(seconds=int(told["ttl"])) + _GRACE
        return "" if now <= until else f"its lock was last renewed at {told['renewTime']}"
    except (KeyError, ValueError, TypeError):
        return "when its lock was renewed is not told"


def _unfit_leader(told: Mapping[str, str], state: Mapping[str, Any], pod: Manifest, now: datetime) -> str:
    if lost := _lost(told, now):
        return lost
    return pod_trouble(pod) if state.get("state") == _RUNNING else f"it is {state.get('state')}, not running"


def _unfit(state: Mapping[str, Any], pod: Manifest, timeline: int | None) -> str:
    tags = state.get("tags") or {}
    if state.get("role") in _LEADERS:
        return "it says that it leads"
    if state.get("state") != _RUNNING:
        return f"it is {state.get('state')}, not running"
    if isinstance(tags, Mapping) and tags.get("nofailover"):
        return "it has the tag nofailover"
    own = _number(state.get("timeline"))
    if timeline is not None and own is not None and own != timeline:
        return f"it is on timeline {own}, not {timeline}"
    return pod_trouble(pod)


def _lag(state: Mapping[str, Any], reached: int | None) -> int | None:
    at = _number(state.get("xlog_location"))
    return None if at is None or reached is None else max(reached - at, 0)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
