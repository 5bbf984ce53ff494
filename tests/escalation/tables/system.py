"""What the operator lives by: its Secrets, leases, stop switch, admission policies, snapshots and events."""

from __future__ import annotations

from typing import Any

from escalation.rows import (
    ADA,
    ANALYST,
    EDITH,
    FLEET,
    GRACE,
    HEAD,
    KEEPER,
    MALLORY,
    MILL,
    MILLER,
    OPERATOR,
    RBAC,
    REPAIR,
    ROOT,
    SCHEMA,
    SHOP,
    SYSTEM,
    Row,
    core,
    delete,
    get,
    group,
    patch,
    post,
    rbac,
)

SECRETS = "Secrets of others"
LEASES = "leases"
SWITCH = "the stop switch"
POLICIES = "admission policies weakened"
SNAPSHOTS = "snapshots (ControllerRevisions) tampered with"
Object = dict[str, Any]


def _secrets() -> list[Row]:
    bank, mill = core("secrets", SHOP, "bank"), core("secrets", MILL, "bank")
    key, other = core("secrets", SYSTEM, "kubernaut-signing"), core("secrets", SYSTEM, "esc-other")
    signing, editor = get(OPERATOR, key), get(EDITH, bank)
    new = {"metadata": {"name": "new"}, "stringData": {"word": "x"}}
    forged = {"metadata": {"name": f"kubernaut-{'0' * 32}"}, "type": "kubernaut.io/before-image", "data": {}}
    rekeyed = {"stringData": {"key": "k" * 32}}
    return [
        Row(SECRETS, "reads one of a tenant", get(OPERATOR, bank), RBAC, signing),
        Row(SECRETS, "lists those of a tenant", get(OPERATOR, core("secrets", SHOP)), RBAC, signing),
        Row(SECRETS, "lists all of the cluster", get(OPERATOR, core("secrets")), RBAC, signing),
        Row(SECRETS, "reads another one of its own namespace", get(OPERATOR, other), RBAC, signing),
        Row(
            SECRETS, "lists those of its own namespace", get(OPERATOR, core("secrets", SYSTEM)), RBAC, signing
        ),
        Row(
            SECRETS,
            "creates one in its own namespace",
            post(OPERATOR, core("secrets", SYSTEM), new),
            RBAC,
            patch(OPERATOR, key, {"metadata": {"labels": {"a": "b"}}}),
        ),
        Row(SECRETS, "deletes the key", delete(OPERATOR, key), RBAC, signing),
        Row(SECRETS, "reads the key that signs marks", get(ANALYST, key), RBAC, signing),
        Row(SECRETS, "reads the key that signs marks", get(HEAD, key), RBAC, get(HEAD, bank)),
        Row(
            SECRETS,
            "reads the key that signs marks",
            get(KEEPER, key),
            RBAC,
            get(KEEPER, core("configmaps", SYSTEM, "kubernaut-switch")),
        ),
        Row(
            SECRETS, "reads the key that signs marks", get(REPAIR, key), RBAC, get(REPAIR, core("pods", SHOP))
        ),
        Row(
            SECRETS,
            "replaces the key that signs marks",
            patch(MALLORY, key, rekeyed),
            RBAC,
            patch(MALLORY, mill, rekeyed),
        ),
        Row(
            SECRETS,
            "reads one without leave to keep before-images",
            get(REPAIR, bank),
            RBAC,
            get(MILLER, mill),
        ),
        Row(
            SECRETS,
            "lists those of its namespace",
            get(MILLER, core("secrets", MILL)),
            RBAC,
            get(MILLER, mill),
        ),
        Row(SECRETS, "changes one that it may read", patch(MILLER, mill, rekeyed), RBAC, get(MILLER, mill)),
        Row(SECRETS, "reads one of another tenant", get(MILLER, bank), RBAC, get(MILLER, mill)),
        Row(
            SECRETS,
            "keeps a before-image in another tenant's namespace",
            post(MILLER, core("secrets", SHOP), forged),
            RBAC,
            post(MILLER, core("secrets", MILL), forged),
        ),
        Row(SECRETS, "reads one of another tenant", get(MALLORY, bank), RBAC, get(MALLORY, mill)),
        Row(SECRETS, "reads one with kubernaut-edit", get(ADA, bank), RBAC, editor),
        Row(SECRETS, "reads one with kubernaut-approver", get(GRACE, bank), RBAC, editor),
    ]


def _leases() -> list[Row]:
    version = "coordination.k8s.io/v1"
    leases, mine = group(version, "leases", SYSTEM), group(version, "leases", SYSTEM, "esc-shard")
    mill = group(version, "leases", MILL)
    new = {"metadata": {"name": "new"}, "spec": {"holderIdentity": "eve"}}
    taken = {"spec": {"holderIdentity": "eve"}}
    made, held = post(OPERATOR, leases, new), patch(OPERATOR, mine, taken)
    return [
        Row(LEASES, "takes a shard over", patch(MALLORY, mine, taken), RBAC, held),
        Row(LEASES, "takes a shard over", patch(HEAD, mine, taken), RBAC, held),
        Row(LEASES, "takes a shard over", patch(REPAIR, mine, taken), RBAC, held),
        Row(LEASES, "takes a shard over", patch(ANALYST, mine, taken), RBAC, held),
        Row(LEASES, "joins as a replica", post(REPAIR, leases, new), RBAC, made),
        Row(LEASES, "joins as a replica", post(MALLORY, leases, new), RBAC, made),
        Row(LEASES, "frees a scarce resource", delete(MALLORY, mine), RBAC, delete(OPERATOR, mine)),
        Row(LEASES, "frees a scarce resource", delete(KEEPER, mine), RBAC, delete(OPERATOR, mine)),
        Row(LEASES, "writes a lease of a tenant", post(OPERATOR, mill, new), RBAC, made),
        Row(
            LEASES,
            "writes a node's lease",
            post(OPERATOR, group(version, "leases", "kube-node-lease"), new),
            RBAC,
            made,
        ),
    ]


def _switch() -> list[Row]:
    switch = core("configmaps", SYSTEM, "kubernaut-switch")
    start = patch(KEEPER, switch, {"data": {"acting": "on"}})
    other = core("configmaps", SYSTEM, "kube-root-ca.crt")
    return [
        *(
            Row(SWITCH, "starts what was stopped", start.by(who), RBAC, start)
            for who in (ADA, EDITH, HEAD, GRACE, MALLORY, REPAIR)
        ),
        Row(SWITCH, "starts what was stopped", start.by(ANALYST), RBAC, get(ANALYST, switch)),
        Row(SWITCH, "takes the switch away", delete(KEEPER, switch), RBAC, start),
        Row(SWITCH, "takes the switch away", delete(OPERATOR, switch), RBAC, start.by(OPERATOR)),
        Row(SWITCH, "changes another ConfigMap", start.at(other), RBAC, start),
        Row(SWITCH, "changes another ConfigMap", start.by(OPERATOR).at(other), RBAC, start.by(OPERATOR)),
        Row(
            SWITCH,
            "makes a switch of its own",
            post(OPERATOR, core("configmaps", SYSTEM), {"metadata": {"name": "new"}}),
            RBAC,
            start.by(OPERATOR),
        ),
    ]


def _policies() -> list[Row]:
    version, name = "admissionregistration.k8s.io/v1", "workflow-account.kubernaut.io"
    policy = group(version, "validatingadmissionpolicies", "", name)
    binding = group(version, "validatingadmissionpolicybindings", "", name)
    open_, warn = {"spec": {"failurePolicy": "Ignore"}}, {"spec": {"validationActions": ["Warn"]}}
    hook = {
        "metadata": {"name": "esc-hook"},
        "webhooks": [
            {
                "name": "esc.example.com",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "failurePolicy": "Ignore",
            }
        ],
    }
    hooks = group(version, "mutatingwebhookconfigurations")
    found = []
    for who in (HEAD, MALLORY, REPAIR, ADA):
        found += [
            Row(
                POLICIES,
                "has a policy fail open",
                patch(who, policy, open_),
                RBAC,
                patch(ROOT, policy, open_),
            ),
            Row(
                POLICIES,
                "has a binding warn only",
                patch(who, binding, warn),
                RBAC,
                patch(ROOT, binding, warn),
            ),
        ]
    return [
        *found,
        Row(POLICIES, "deletes a policy", delete(HEAD, policy), RBAC, delete(ROOT, policy)),
        Row(POLICIES, "deletes a binding", delete(HEAD, binding), RBAC, delete(ROOT, binding)),
        Row(POLICIES, "weakens a policy", patch(OPERATOR, policy, open_), RBAC, get(OPERATOR, policy)),
        Row(POLICIES, "weakens a binding", patch(OPERATOR, binding, warn), RBAC, get(OPERATOR, binding)),
        Row(POLICIES, "deletes a binding", delete(OPERATOR, binding), RBAC, get(OPERATOR, binding)),
        Row(
            POLICIES,
            "adds a webhook that changes Workflows",
            post(HEAD, hooks, hook),
            RBAC,
            post(ROOT, hooks, hook),
        ),
        Row(
            POLICIES,
            "adds a webhook that changes Workflows",
            post(OPERATOR, hooks, hook),
            RBAC,
            post(ROOT, hooks, hook),
        ),
        Row(
            POLICIES,
            "changes the schema of runs",
            patch(
                HEAD,
                group(
                    "apiextensions.k8s.io/v1",
                    "customresourcedefinitions",
                    "",
                    "workflowexecutions.kubernaut.io",
                ),
                {"metadata": {"labels": {"a": "b"}}},
            ),
            RBAC,
            patch(
                ROOT,
                group(
                    "apiextensions.k8s.io/v1",
                    "customresourcedefinitions",
                    "",
                    "workflowexecutions.kubernaut.io",
                ),
                {"metadata": {"labels": {"a": "b"}}},
            ),
        ),
    ]


def _snapshots() -> list[Row]:
    all_, one = (
        group("apps/v1", "controllerrevisions", SHOP),
        group("apps/v1", "controllerrevisions", SHOP, "theirs-1"),
    )
    new = {"metadata": {"name": "new"}, "revision": 1, "data": {"spec": {}}}
    other: Object = {"data": {"spec": {"serviceAccountName": "cluster-root"}}}
    made = post(OPERATOR, all_, new)
    return [
        *(
            Row(SNAPSHOTS, "lays one ready", made.by(who), RBAC, made)
            for who in (ADA, EDITH, HEAD, GRACE, MALLORY, REPAIR, ANALYST)
        ),
        *(
            Row(SNAPSHOTS, "changes one", patch(who, one, other), RBAC, get(OPERATOR, one))
            for who in (ADA, HEAD, REPAIR, OPERATOR)
        ),
        Row(
            SNAPSHOTS,
            "changes one as the administrator",
            patch(ROOT, one, other),
            SCHEMA,
            get(ROOT, one),
        ),
        Row(SNAPSHOTS, "deletes one", delete(ADA, one), RBAC, delete(OPERATOR, one)),
        Row(SNAPSHOTS, "deletes one", delete(HEAD, one), RBAC, delete(OPERATOR, one)),
    ]


def _beyond() -> list[Row]:
    of = "the operator's own rights"
    sets = group("apps/v1", "replicasets", SHOP)
    seen, deployments = get(OPERATOR, sets), group("apps/v1", "deployments", SHOP)
    label = {"metadata": {"labels": {"kubernaut.io/cluster-scoped": "true"}}}
    space = core("namespaces", "", SHOP)
    event = {
        "metadata": {"name": "new"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Look",
        "type": "Normal",
        "reason": "Looked",
        "reportingController": "kubernaut.io",
        "reportingInstance": "here",
        "note": "x",
        "regarding": {"apiVersion": "v1", "kind": "Namespace", "name": SHOP, "namespace": SHOP},
    }
    events = group("events.k8s.io/v1", "events", SHOP)
    return [
        Row(of, "reads workloads", get(OPERATOR, deployments), RBAC, seen),
        Row(of, "reads pods", get(OPERATOR, core("pods", SHOP)), RBAC, seen),
        Row(
            of,
            "changes a ReplicaSet",
            patch(OPERATOR, group("apps/v1", "replicasets", SHOP, "any"), {}),
            RBAC,
            seen,
        ),
        Row(of, "reads ConfigMaps of a tenant", get(OPERATOR, core("configmaps", SHOP)), RBAC, seen),
        Row(of, "lists namespaces", get(OPERATOR, core("namespaces")), RBAC, get(OPERATOR, space)),
        Row(of, "labels a namespace", patch(OPERATOR, space, label), RBAC, get(OPERATOR, space)),
        Row(of, "reads events", get(OPERATOR, events), RBAC, post(OPERATOR, events, event)),
        Row(of, "reads Roles", get(OPERATOR, rbac("roles", SHOP)), RBAC, seen),
        Row(
            of,
            "reads Roles",
            get(ANALYST, rbac("roles", SYSTEM)),
            RBAC,
            get(ANALYST, core("configmaps", SYSTEM, "kubernaut-switch")),
        ),
        Row(of, "reads nodes", get(OPERATOR, core("nodes")), RBAC, seen),
        Row(
            of,
            "reads the fleet's workloads",
            get(OPERATOR, group("apps/v1", "deployments", FLEET)),
            RBAC,
            seen,
        ),
    ]


ROWS = [*_secrets(), *_leases(), *_switch(), *_policies(), *_snapshots(), *_beyond()]
