"""Runs that are changed, said to be another's, let go of, or given a status by those who may not."""

from __future__ import annotations

from typing import Any

from apiserver.resources import EXECUTION, PATTERN, WORKFLOW, smallest
from escalation.rows import (
    ADA,
    ANALYST,
    DROPPED,
    EDITH,
    GRACE,
    HEAD,
    IDA,
    JSON_PATCH,
    MALLORY,
    MILL,
    OPERATOR,
    PRETENDER,
    RBAC,
    REPAIR,
    ROOT,
    SCHEMA,
    SHOP,
    SYSTEM,
    VERA,
    Ask,
    Row,
    delete,
    get,
    ours,
    patch,
    policy,
    post,
    put,
)
from escalation.tables.answers import ADMIN, user
from kubernaut.api.names import FINALIZER

SPEC = "a run's spec changed"
ORIGIN = "a run's parent or trigger forged"
FINALIZERS = "a run taken out of the history"
STATUS = "/status written by others"
TENANT = "another tenant's Workflows, runs and patterns"
_RUNS = ours("workflowexecutions", SHOP)
_FRESH = ours("workflowexecutions", SHOP, "fresh")
_PAUSE = {"spec": {"control": {"paused": True}}}
_PARENT = {"name": "whole", "uid": "1", "step": "sub", "depth": 1}
Object = dict[str, Any]
FIXED: dict[str, Object] = {
    "another Workflow": {"workflowRef": {"name": "other"}},
    "other parameters": {"parameters": [{"name": "deployment", "value": "bank"}]},
    "another trigger": {"trigger": {"by": "grace"}},
    "a real run of a dry one": {"dryRun": True},
    "what it takes over": {"retryFrom": {"name": "other"}},
    "a parent": {"parent": _PARENT},
}


def _spec() -> list[Row]:
    cancelled = ours("workflowexecutions", SHOP, "cancelled")
    again = patch(ADA, cancelled, {"spec": {"control": {"cancel": False}}})
    pause = patch(ADA, cancelled, _PAUSE)
    found = []
    for who in (ADA, ROOT):
        for what, spec in FIXED.items():
            ask = patch(who, _FRESH, {"spec": spec})
            found.append(Row(SPEC, f"gives it {what}", ask, SCHEMA, ask.saying(_PAUSE)))
    return [
        *found,
        Row(SPEC, "un-cancels it", again, SCHEMA, pause),
        Row(
            SPEC,
            "un-cancels it by leaving the control out",
            again.saying({"spec": {"control": None}}),
            SCHEMA,
            pause,
        ),
    ]


def _run(**spec: Any) -> Object:
    return smallest(EXECUTION, "new", **spec)


_ALERT: Object = {
    "type": "Alert",
    "by": "alertmanager",
    "alert": {
        "name": "Broken",
        "fingerprint": "0123456789abcdef",
        "startsAt": "2026-03-04T12:00:00Z",
        "incident": "0" * 32,
        "episode": 1,
        "targetUid": "of-nobody",
    },
}


def _alerts_told() -> list[Row]:
    """Have a run look as if its alert had been resolved."""
    by, kept = policy("run-alerts"), {"metadata": {"annotations": {"kubernaut.io/alerts": "{}"}}}
    other: Object = {"metadata": {"annotations": {"example.com/alerts": "{}"}}}
    started = _run()
    started["metadata"]["annotations"] = kept["metadata"]["annotations"]
    free = _run()
    free["metadata"]["annotations"] = other["metadata"]["annotations"]
    return [
        *(
            Row(
                ORIGIN,
                f"writes what is known of a run's alerts, as {told}",
                patch(actor, _FRESH, kept),
                by,
                patch(actor, _FRESH, other),
            )
            for told, actor in (("an editor", ADA), ("the cluster's administrator", ROOT))
        ),
        Row(
            ORIGIN,
            "starts a run with what is known of its alerts",
            post(ADA, _RUNS, started),
            by,
            post(ADA, _RUNS, free),
        ),
    ]


def _origin() -> list[Row]:
    by = policy("run-origin")
    ask = post(ADA, _RUNS, _run())
    own = ask.saying(_run(trigger={"by": "ada"}))
    started = post(REPAIR, _RUNS, _run(trigger={"type": "Subflow", "by": "whole"}, parent=_PARENT))
    return [
        Row(ORIGIN, "starts a run in another's name", ask.saying(_run(trigger={"by": "grace"})), by, own),
        Row(
            ORIGIN,
            "starts a run in the administrator's name",
            ask.saying(_run(trigger={"by": ADMIN})),
            by,
            own,
        ),
        Row(
            ORIGIN,
            "starts a run in the operator's name",
            ask.saying(_run(trigger={"by": user(OPERATOR)})),
            by,
            own,
        ),
        Row(
            ORIGIN,
            "starts a run in another's name, as the administrator",
            post(ROOT, _RUNS, _run(trigger={"by": "grace"})),
            by,
            post(ROOT, _RUNS, _run(trigger={"by": ADMIN})),
        ),
        Row(
            ORIGIN,
            "tries another's run again in that one's name",
            ask.saying(_run(trigger={"type": "Retry", "by": "grace"}, retryFrom={"name": "fresh"})),
            by,
            ask.saying(_run(trigger={"type": "Retry", "by": "ada"}, retryFrom={"name": "fresh"})),
        ),
        Row(ORIGIN, "starts a run that says it has a parent", ask.saying(_run(parent=_PARENT)), by, started),
        Row(
            ORIGIN,
            "starts a run that says a step started it",
            ask.saying(_run(trigger={"type": "Subflow"})),
            by,
            started,
        ),
        Row(
            ORIGIN,
            "starts a run under a parent in that one's name",
            ask.saying(_run(trigger={"type": "Subflow", "by": "whole"}, parent=_PARENT)),
            by,
            started,
        ),
        Row(
            ORIGIN,
            "starts a run under a parent as an administrator of the namespace",
            post(HEAD, _RUNS, _run(parent=_PARENT)),
            by,
            post(HEAD, _RUNS, _run()),
        ),
        Row(
            ORIGIN,
            "starts a run under a parent as the cluster's administrator",
            post(ROOT, _RUNS, _run(parent=_PARENT)),
            by,
            post(ROOT, _RUNS, _run()),
        ),
        Row(
            ORIGIN,
            "says that another run than its parent started it",
            started.saying(_run(trigger={"type": "Subflow", "by": "other"}, parent=_PARENT)),
            by,
            started,
        ),
        Row(ORIGIN, "starts a run as a person", started.saying(_run(trigger={"by": "ada"})), by, started),
        *(
            Row(
                ORIGIN,
                f"starts a run that says an alert started it, as {told}",
                post(actor, _RUNS, _run(trigger=_ALERT)),
                by,
                post(OPERATOR, _RUNS, _run(trigger=_ALERT)),
            )
            for told, actor in (
                ("an editor", ADA),
                ("an account of Workflows", REPAIR),
                ("the cluster's administrator", ROOT),
            )
        ),
        *_alerts_told(),
        Row(
            ORIGIN,
            "starts a run with an alert that it says nothing of",
            ask.saying(_run(trigger={"by": "ada", "alert": _ALERT["alert"]})),
            SCHEMA,
            own,
        ),
        Row(
            ORIGIN,
            "gives a run a parent later",
            patch(ADA, _FRESH, {"spec": {"parent": _PARENT}}),
            SCHEMA,
            patch(ADA, _FRESH, _PAUSE),
        ),
        Row(ORIGIN, "starts a run", ask.by(VERA), RBAC, get(VERA, _RUNS)),
        Row(ORIGIN, "starts a run with the right to approve", ask.by(GRACE), RBAC, get(GRACE, _RUNS)),
        Row(ORIGIN, "starts a run itself", ask.by(OPERATOR), by, post(OPERATOR, _RUNS, _run(trigger=_ALERT))),
    ]


def _finalizers() -> list[Row]:
    by, held = policy("run-finalizer"), ours("workflowexecutions", SHOP, "held")
    let_go: Object = {"metadata": {"finalizers": None}}
    other: Object = {"metadata": {"finalizers": [FINALIZER, "example.com/other"]}}
    swapped: Object = {"metadata": {"finalizers": ["example.com/other"]}}
    removed = [{"op": "remove", "path": "/metadata/finalizers"}]
    done = patch(OPERATOR, held, let_go)
    return [
        Row(FINALIZERS, "lets go of it", patch(ADA, held, let_go), by, done),
        Row(
            FINALIZERS,
            "lets go of it as an editor",
            patch(EDITH, held, let_go),
            by,
            patch(EDITH, held, other),
        ),
        Row(
            FINALIZERS,
            "lets go of it as an administrator of the namespace",
            patch(HEAD, held, let_go),
            by,
            patch(HEAD, held, other),
        ),
        Row(
            FINALIZERS,
            "lets go of it as an approver",
            patch(GRACE, held, let_go),
            by,
            patch(GRACE, held, other),
        ),
        Row(
            FINALIZERS, "lets go of its own run", patch(REPAIR, held, let_go), by, patch(REPAIR, held, other)
        ),
        Row(
            FINALIZERS,
            "swaps the finalizer for another",
            patch(ADA, held, swapped),
            by,
            patch(ADA, held, other),
        ),
        Row(
            FINALIZERS,
            "lets go of it by a JSON patch",
            patch(ADA, held, removed, JSON_PATCH),
            by,
            patch(OPERATOR, held, removed, JSON_PATCH),
        ),
        Row(FINALIZERS, "lets go of it under the operator's name", patch(PRETENDER, held, let_go), by, done),
        Row(
            FINALIZERS,
            "lets go of another tenant's run",
            patch(MALLORY, held, let_go),
            RBAC,
            get(MALLORY, ours("workflowexecutions", MILL)),
        ),
        Row(
            FINALIZERS,
            "hides it behind a pause",
            patch(ADA, held, let_go | _PAUSE),
            by,
            patch(ADA, held, _PAUSE),
        ),
    ]


def _status() -> list[Row]:
    said: Object = {"status": {"observedGeneration": 1}}
    found = []
    for plural, writer, by in (
        ("workflowexecutions", OPERATOR, policy("run-status")),
        ("workflows", OPERATOR, policy("run-status")),
        ("discoveredpatterns", ANALYST, policy("pattern-status")),
    ):
        name = {"workflowexecutions": "fresh", "workflows": "theirs", "discoveredpatterns": "esc-seen"}[
            plural
        ]
        where = SYSTEM if plural == "discoveredpatterns" else SHOP
        path = ours(plural, where, name, "status")
        twin = patch(writer, path, said)
        found += [
            Row(STATUS, f"patches that of {plural}", patch(ROOT, path, said), by, twin),
            Row(STATUS, f"updates that of {plural}", put(ROOT, path, said), by, twin),
            Row(
                STATUS,
                f"patches that of {plural} by a JSON patch",
                patch(ROOT, path, [{"op": "add", "path": "/status", "value": said["status"]}], JSON_PATCH),
                by,
                twin,
            ),
            Row(STATUS, f"patches that of {plural}", patch(ADA, path, said), RBAC, twin),
            Row(STATUS, f"patches that of {plural}", patch(HEAD, path, said), RBAC, twin),
            Row(STATUS, f"patches that of {plural}", patch(REPAIR, path, said), RBAC, twin),
        ]
    run, pattern = (
        ours("workflowexecutions", SHOP, "fresh", "status"),
        ours("discoveredpatterns", SYSTEM, "esc-seen", "status"),
    )
    born = {**_run(), "status": {"phase": "Succeeded", "verdict": "Remediated"}}
    ready = {**smallest(WORKFLOW, "new"), "status": {"observedGeneration": 9}}
    return [
        *found,
        Row(STATUS, "writes that of a run", patch(ANALYST, run, said), RBAC, patch(ANALYST, pattern, said)),
        Row(
            STATUS,
            "writes that of a pattern",
            patch(OPERATOR, pattern, said),
            RBAC,
            patch(OPERATOR, run, said),
        ),
        Row(
            STATUS,
            "writes it under the operator's name",
            patch(PRETENDER, run, said),
            RBAC,
            patch(OPERATOR, run, said),
        ),
        Row(
            STATUS,
            "says that a run failed as an approver",
            patch(GRACE, run, said),
            RBAC,
            patch(GRACE, run[:-7], _PAUSE),
        ),
        Row(
            STATUS,
            "creates a run that has succeeded",
            post(ADA, _RUNS, born),
            DROPPED,
            post(ADA, _RUNS, _run()),
        ),
        Row(
            STATUS,
            "creates a Workflow that is ready",
            post(IDA, ours("workflows", SHOP), ready),
            DROPPED,
            post(IDA, ours("workflows", SHOP), smallest(WORKFLOW, "new")),
        ),
        Row(
            STATUS,
            "writes it by way of the main resource",
            patch(ADA, _FRESH, {"status": {"phase": "Succeeded"}}),
            DROPPED,
            patch(ADA, _FRESH, _PAUSE),
        ),
    ]


def _tenant() -> list[Row]:
    note: Object = {"metadata": {"labels": {"team": "mill"}}}
    found = []
    kinds = (("workflows", "theirs", WORKFLOW), ("workflowexecutions", "fresh", EXECUTION))
    for plural, name, kind in kinds:
        ask = get(MALLORY, ours(plural, SHOP, name))
        what = kind.name
        pairs: dict[str, tuple[Ask, Ask]] = {
            f"reads a {what}": (ask, ask.at(ours(plural, MILL, name))),
            f"lists every {what}": (ask.at(ours(plural, SHOP)), ask.at(ours(plural, MILL))),
            f"lists every {what} of the cluster": (
                ask.at(f"/apis/kubernaut.io/v1alpha1/{plural}"),
                ask.at(ours(plural, MILL)),
            ),
            f"labels a {what}": (
                patch(MALLORY, ours(plural, SHOP, name), note),
                patch(MALLORY, ours(plural, MILL, name), note),
            ),
            f"creates a {what}": (
                post(MALLORY, ours(plural, SHOP), smallest(kind, "new")),
                post(MALLORY, ours(plural, MILL), smallest(kind, "new")),
            ),
            f"deletes a {what}": (
                delete(MALLORY, ours(plural, SHOP, name)),
                delete(MALLORY, ours(plural, MILL, name)),
            ),
            f"deletes every {what}": (
                delete(MALLORY, ours(plural, SHOP)),
                delete(MALLORY, ours(plural, MILL)),
            ),
        }
        found += [Row(TENANT, told, attempt, RBAC, twin) for told, (attempt, twin) in pairs.items()]
    there, mute = ours("discoveredpatterns", SYSTEM, "esc-seen"), {"spec": {"muted": True}}
    mine = ours("discoveredpatterns", MILL, "seen")
    made = smallest(PATTERN, "new")
    repair = ours("workflowexecutions", MILL)
    return [
        *found,
        Row(
            TENANT,
            "mutes a pattern of the whole cluster",
            patch(MALLORY, there, mute),
            RBAC,
            patch(MALLORY, mine, mute),
        ),
        Row(
            TENANT,
            "deletes a pattern of the whole cluster",
            delete(MALLORY, there),
            RBAC,
            delete(MALLORY, mine),
        ),
        Row(TENANT, "reads a pattern of the whole cluster", get(MALLORY, there), RBAC, get(MALLORY, mine)),
        Row(
            TENANT,
            "makes up a pattern",
            post(ADA, ours("discoveredpatterns", SHOP), made),
            RBAC,
            post(ANALYST, ours("discoveredpatterns", SYSTEM), made),
        ),
        Row(
            TENANT,
            "makes up a pattern in a tenant's namespace",
            post(ANALYST, ours("discoveredpatterns", SHOP), made),
            RBAC,
            post(ANALYST, ours("discoveredpatterns", SYSTEM), made),
        ),
        Row(
            TENANT,
            "starts a run there as the account of its own namespace",
            post(REPAIR, repair, _run()),
            RBAC,
            post(REPAIR, _RUNS, _run()),
        ),
    ]


ROWS = [*_spec(), *_origin(), *_finalizers(), *_status(), *_tenant()]
