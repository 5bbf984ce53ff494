"""Approvals and interventions: given in another's name, without the right, changed or taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiserver.resources import EXECUTION, smallest
from escalation.rows import (
    ADA,
    ANALYST,
    APPLY,
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
    SHOP,
    VERA,
    Ask,
    Row,
    ours,
    patch,
    policy,
    post,
)

GIVEN = "approvals forged"
KEPT = "approvals edited or removed"
_BY = policy("run-approval")
_RUNS = ours("workflowexecutions", SHOP)
_FRESH = ours("workflowexecutions", SHOP, "fresh")
_APPROVED = ours("workflowexecutions", SHOP, "approved")
ADMIN = "admin"
_PAUSE = {"spec": {"control": {"paused": True}}}
Record = dict[str, Any]
Make = Callable[..., Record]


def approval(by: str, step: str = "ask", **more: Any) -> Record:
    return {"step": step, "decision": "Approve", "by": by, **more}


def remedy(by: str, step: str = "ask", **more: Any) -> Record:
    return {"step": step, "attempt": 1, "remedy": "Skip", "by": by, **more}


def said(field: str, *records: Record) -> Record:
    return {"spec": {"control": {field: list(records)}}}


def user(account: str) -> str:
    return f"system:serviceaccount:{account}"


def _given(field: str, make: Make) -> list[Row]:
    def by(who: str, name: str) -> Ask:
        return patch(who, _FRESH, said(field, make(name)))

    grace, born = by(GRACE, "grace"), smallest(EXECUTION, "new")
    answered = {**born, "spec": {**born["spec"], "control": {field: [make(ADMIN)]}}}
    added = [{"op": "add", "path": "/spec/control", "value": {field: [make("ada")]}}]
    applied = {"apiVersion": born["apiVersion"], "kind": born["kind"], "metadata": {"name": "fresh"}}
    mill = ours("workflowexecutions", MILL, "fresh")
    what = field[:-1]
    return [
        Row(
            GIVEN, f"creates a run with an {what}", post(ROOT, _RUNS, answered), _BY, post(ROOT, _RUNS, born)
        ),
        Row(GIVEN, f"gives an {what} without the right", by(ADA, "ada"), _BY, grace),
        Row(
            GIVEN, f"gives an {what} as an editor of the namespace", by(EDITH, "edith"), _BY, by(HEAD, "head")
        ),
        Row(GIVEN, f"gives an {what} with the right to act as the account", by(IDA, "ida"), _BY, grace),
        Row(GIVEN, f"gives an {what} who may only read", by(VERA, "vera"), RBAC, grace),
        Row(
            GIVEN,
            f"gives its own run an {what}",
            by(REPAIR, user(REPAIR)),
            _BY,
            patch(REPAIR, _FRESH, _PAUSE),
        ),
        Row(
            GIVEN,
            f"gives an {what} itself",
            by(OPERATOR, user(OPERATOR)),
            _BY,
            patch(OPERATOR, _FRESH, _PAUSE),
        ),
        Row(GIVEN, f"gives an {what} as the analyst", by(ANALYST, user(ANALYST)), RBAC, by(HEAD, "head")),
        Row(
            GIVEN,
            f"gives an {what} under the operator's name",
            by(PRETENDER, user(PRETENDER)),
            _BY,
            patch(PRETENDER, _FRESH, _PAUSE),
        ),
        Row(GIVEN, f"gives an {what} in another's name", by(GRACE, "ada"), _BY, grace),
        Row(GIVEN, f"gives an {what} in a name of other case", by(GRACE, "Grace"), _BY, grace),
        Row(GIVEN, f"gives an {what} in a name with a blank", by(GRACE, "grace "), _BY, grace),
        Row(GIVEN, f"gives an {what} in the operator's name", by(GRACE, user(OPERATOR)), _BY, grace),
        Row(
            GIVEN,
            f"gives an {what} in another's name as the cluster's administrator",
            by(ROOT, "grace"),
            _BY,
            by(ROOT, ADMIN),
        ),
        Row(
            GIVEN,
            f"hides an {what} in another's name behind one of its own",
            patch(GRACE, _FRESH, said(field, make("grace", "one"), make("ada", "two"))),
            _BY,
            patch(GRACE, _FRESH, said(field, make("grace", "one"), make("grace", "two"))),
        ),
        Row(
            GIVEN,
            f"gives an {what} by a JSON patch",
            patch(ADA, _FRESH, added, JSON_PATCH),
            _BY,
            patch(GRACE, _FRESH, [{**added[0], "value": {field: [make("grace")]}}], JSON_PATCH),
        ),
        Row(
            GIVEN,
            f"gives an {what} by server-side apply",
            patch(ADA, _FRESH, {**applied, **said(field, make("ada"))}, APPLY),
            _BY,
            patch(GRACE, _FRESH, {**applied, **said(field, make("grace"))}, APPLY),
        ),
        Row(
            GIVEN,
            f"gives an {what} to another tenant's run",
            by(MALLORY, "mallory"),
            RBAC,
            patch(MALLORY, mill, said(field, make("mallory"))),
        ),
    ]


def _kept(field: str, make: Make, changes: dict[str, Record]) -> list[Row]:
    was = make("grace")
    more = patch(GRACE, _APPROVED, said(field, was, make("grace", "more")))
    what = field[:-1]

    def to(*records: Record, who: str = GRACE) -> Ask:
        return patch(who, _APPROVED, said(field, *records))

    gone = patch(GRACE, _APPROVED, {"spec": {"control": None}})
    removed = patch(GRACE, _APPROVED, [{"op": "remove", "path": f"/spec/control/{field}/0"}], JSON_PATCH)
    return [
        Row(KEPT, f"takes an {what} back", to(), _BY, more),
        Row(KEPT, f"takes an {what} back by a JSON patch", removed, _BY, more),
        Row(KEPT, f"takes all control with the {what} away", gone, _BY, more),
        Row(KEPT, f"replaces an {what} by another's", to(make("grace", "other")), _BY, more),
        Row(KEPT, f"takes another's {what} back", to(who=ADA), _BY, patch(ADA, _APPROVED, _PAUSE)),
        Row(
            KEPT,
            f"takes an {what} back as the administrator",
            to(who=ROOT),
            _BY,
            patch(ROOT, _APPROVED, _PAUSE),
        ),
        Row(
            KEPT,
            f"claims another's {what}",
            to({**was, "by": "head"}, who=HEAD),
            _BY,
            to(was, make("head", "more"), who=HEAD),
        ),
        *(
            Row(KEPT, f"changes {told} of an {what}", to({**was, **change}), _BY, more)
            for told, change in changes.items()
        ),
    ]


ROWS = [
    *_given("approvals", approval),
    *_given("interventions", remedy),
    *_kept(
        "approvals",
        approval,
        {
            "the decision": {"decision": "Deny"},
            "the reason": {"reason": "later"},
            "the parameters": {"parameters": [{"name": "replicas", "value": "9"}]},
        },
    ),
    *_kept(
        "interventions",
        remedy,
        {
            "the remedy": {"remedy": "Rollback"},
            "the attempt": {"attempt": 2},
            "the reason": {"reason": "later"},
        },
    ),
]
