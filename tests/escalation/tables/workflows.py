"""Whose account a Workflow acts as, and who may rewrite one."""

from __future__ import annotations

from typing import Any

from apiserver.resources import WORKFLOW, smallest
from escalation.rows import (
    ADA,
    APPLY,
    EDITH,
    GRACE,
    GUEST,
    IDA,
    JSON_PATCH,
    MALLORY,
    MILL,
    MILO,
    OPERATOR,
    PRETENDER,
    RBAC,
    REPAIR,
    SHOP,
    VERA,
    Row,
    get,
    ours,
    patch,
    policy,
    post,
    put,
)

ACCOUNT = "use of another's ServiceAccount"
REWRITE = "another's Workflow rewritten"
_BY = policy("workflow-account")
_ALL, _THEIRS = ours("workflows", SHOP), ours("workflows", SHOP, "theirs")
_NEW = smallest(WORKFLOW, "new")
_STEP = {"name": "other", "action": "restart_pod"}
_LABEL = {"metadata": {"labels": {"team": "shop"}}}
#: what a Workflow does, field by field
REWRITES: dict[str, dict[str, Any]] = {
    "the steps": {"steps": [_STEP]},
    "what an action is given": {
        "steps": [{"name": "tell", "action": "notify_only", "with": {"message": "x"}}]
    },
    "the templates": {"templates": [{"name": "more", "steps": [_STEP]}]},
    "the steps under finally": {"finally": [_STEP]},
    "the target": {"target": {"name": "bank"}},
    "the kind of the target": {"target": {"kind": "StatefulSet"}},
    "the parameters": {"parameters": [{"name": "deployment", "default": "bank"}]},
    "the outputs": {"outputs": [{"name": "told", "value": "=target.metadata.name"}]},
    "what is verified": {"verify": {"expect": ["true"]}},
    "what follows a failure": {"onFailure": "Continue"},
    "the time-out": {"timeout": "2h"},
    "the concurrency": {"concurrencyPolicy": "Replace"},
    "the priority": {"priority": 1000},
    "the lifecycle": {"lifecycle": "Draft"},
    "the time to live": {"ttlSecondsAfterFinished": 0},
    "how it is put back": {"rollback": {"timeout": "1s"}},
}


def _account() -> list[Row]:
    new, root = post(ADA, _ALL, _NEW), smallest(WORKFLOW, "new", serviceAccountName="cluster-root")
    milos = post(MILO, _ALL, _NEW)
    named = patch(IDA, _THEIRS, {"spec": {"serviceAccountName": "cluster-root"}})
    description = {"spec": {"description": "mine"}}
    replaced = [{"op": "replace", "path": "/spec/serviceAccountName", "value": "cluster-root"}]
    applied = {**_NEW, "metadata": {"name": "theirs"}}
    return [
        Row(ACCOUNT, "writes a Workflow for an account it may not act as", new, _BY, new.by(IDA)),
        Row(
            ACCOUNT,
            "names an account beside the one it may act as",
            new.by(IDA).saying(root),
            _BY,
            new.by(IDA),
        ),
        Row(ACCOUNT, "has the right in another namespace only", milos, _BY, new.by(IDA)),
        Row(ACCOUNT, "moves a Workflow to another account", named, _BY, named.saying(description)),
        Row(
            ACCOUNT,
            "moves it by a JSON patch",
            patch(IDA, _THEIRS, replaced, JSON_PATCH),
            _BY,
            patch(IDA, _THEIRS, [{**replaced[0], "value": "kubernaut-repair"}], JSON_PATCH),
        ),
        Row(
            ACCOUNT,
            "moves it by server-side apply",
            patch(
                IDA,
                _THEIRS,
                {**applied, "spec": {**_NEW["spec"], "serviceAccountName": "cluster-root"}},
                APPLY,
            ),
            _BY,
            patch(IDA, _THEIRS, applied, APPLY),
        ),
        Row(
            ACCOUNT,
            "moves it by an update",
            put(IDA, _THEIRS, {"spec": {"serviceAccountName": "cluster-root"}}),
            _BY,
            put(IDA, _THEIRS, description),
        ),
        Row(
            ACCOUNT,
            "writes one that acts as the default account",
            new.saying(smallest(WORKFLOW, "new", serviceAccountName="default")),
            _BY,
            new.by(EDITH).saying(smallest(WORKFLOW, "new", serviceAccountName="default")),
        ),
        Row(ACCOUNT, "writes a Workflow for its own account", new.by(REPAIR), RBAC, new.by(IDA)),
        Row(ACCOUNT, "writes a Workflow", new.by(OPERATOR), RBAC, get(OPERATOR, _ALL)),
        Row(ACCOUNT, "has the operator's name in another namespace", new.by(PRETENDER), _BY, new.by(IDA)),
        Row(ACCOUNT, "may read only", new.by(VERA), RBAC, get(VERA, _ALL)),
        Row(ACCOUNT, "may approve only", new.by(GRACE), RBAC, new.by(IDA)),
        Row(ACCOUNT, "may nothing", new.by(GUEST), RBAC, new.by(EDITH)),
        Row(
            ACCOUNT,
            "writes a Workflow into another tenant's namespace",
            new.by(MALLORY),
            RBAC,
            new.by(MALLORY).at(ours("workflows", MILL)),
        ),
    ]


def _rewrites() -> list[Row]:
    found = []
    for what, spec in REWRITES.items():
        ask = patch(ADA, _THEIRS, {"spec": spec})
        found.append(Row(REWRITE, f"changes {what}", ask, _BY, ask.by(IDA)))
    updated = put(ADA, _THEIRS, {"spec": {"steps": [_STEP]}})
    applied = patch(ADA, _THEIRS, {**_NEW, "metadata": {"name": "theirs"}, "spec": {"priority": 9}}, APPLY)
    added = patch(ADA, _THEIRS, [{"op": "add", "path": "/spec/steps/-", "value": _STEP}], JSON_PATCH)
    hidden = patch(ADA, _THEIRS, {**_LABEL, "spec": {"steps": [_STEP]}})
    return [
        *found,
        Row(REWRITE, "updates it as a whole", updated, _BY, put(ADA, _THEIRS, _LABEL)),
        Row(REWRITE, "applies over it", applied, _BY, applied.by(IDA)),
        Row(REWRITE, "adds a step by a JSON patch", added, _BY, added.by(IDA)),
        Row(REWRITE, "hides the change behind a label", hidden, _BY, patch(ADA, _THEIRS, _LABEL)),
    ]


ROWS = [*_account(), *_rewrites()]
