"""Rights given to oneself: bind, escalate, aggregated roles, impersonation, tokens."""

from __future__ import annotations

from typing import Any

from escalation.rows import (
    ADA,
    ANALYST,
    BOSS,
    EDITH,
    FLEET,
    GRACE,
    HEAD,
    MALLORY,
    MILL,
    OPERATOR,
    RBAC,
    REPAIR,
    ROOT,
    SHOP,
    SYSTEM,
    VERA,
    Ask,
    Row,
    core,
    delete,
    get,
    group,
    ours,
    patch,
    post,
    rbac,
)

BIND = "bind"
ESCALATE = "escalate"
AGGREGATED = "aggregated roles"
IMPERSONATE = "impersonate"
TOKEN = "token requests"
_GROUP = "rbac.authorization.k8s.io"
Object = dict[str, Any]


def _binding(role: str, kind: str = "ClusterRole", name: str = "new", user: str = "ada") -> Object:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": role},
        "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": user}],
    }


def _role(name: str, *rules: tuple[str, str, str], **more: Any) -> Object:
    rule = [{"apiGroups": [g], "resources": [r], "verbs": [v]} for g, r, v in rules]
    return {"metadata": {"name": name, **more}, "rules": rule}


def _bind() -> list[Row]:
    bindings, fine = rbac("rolebindings", SHOP), _binding("kubernaut-approver")
    ask = post(HEAD, bindings, fine)
    roles = {
        "cluster-admin": "the whole namespace",
        "kubernaut-operator": "the operator's ClusterRole",
        "system:node": "a node's rights",
        "system:controller:generic-garbage-collector": "a controller's rights",
    }
    repair = rbac("rolebindings", SHOP, "kubernaut-repair")
    mine = {"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": SHOP}]}
    wide = post(HEAD, rbac("clusterrolebindings"), _binding("kubernaut-view"))
    return [
        *(Row(BIND, f"binds {told}", ask.saying(_binding(name)), RBAC, ask) for name, told in roles.items()),
        Row(BIND, "binds a role in the whole cluster", wide, RBAC, ask.saying(_binding("kubernaut-view"))),
        Row(
            BIND,
            "binds the operator's own role in its namespace",
            post(HEAD, rbac("rolebindings", SYSTEM), _binding("kubernaut-operator", "Role")),
            RBAC,
            ask,
        ),
        Row(
            BIND,
            "binds the stop switch",
            post(MALLORY, rbac("rolebindings", SYSTEM), _binding("kubernaut-switch", "Role")),
            RBAC,
            ask.by(MALLORY).at(rbac("rolebindings", MILL)),
        ),
        Row(BIND, "binds a role as an editor", ask.by(EDITH), RBAC, ask),
        Row(BIND, "binds a role as an approver", ask.by(GRACE), RBAC, ask),
        Row(BIND, "binds its own account a role", ask.by(REPAIR), RBAC, ask),
        Row(BIND, "binds itself a role", ask.by(OPERATOR), RBAC, ask),
        Row(BIND, "binds itself a role", ask.by(ANALYST), RBAC, ask),
        Row(
            BIND,
            "adds itself to the binding of the account",
            patch(ADA, repair, mine),
            RBAC,
            patch(HEAD, repair, mine),
        ),
        Row(
            BIND,
            "binds a role in another tenant's namespace",
            ask.by(MALLORY),
            RBAC,
            ask.by(MALLORY).at(rbac("rolebindings", MILL)),
        ),
    ]


def _escalate() -> list[Row]:
    roles = rbac("roles", SHOP)
    ask = post(HEAD, roles, _role("new", ("", "pods", "get")))
    rules: dict[str, tuple[str, str, str]] = {
        "nodes/proxy": ("", "nodes/proxy", "get"),
        "all of everything": ("*", "*", "*"),
        "impersonation of people": ("", "users", "impersonate"),
        "impersonation of groups": ("", "groups", "impersonate"),
        "leave to bind": (_GROUP, "roles", "bind"),
        "leave to escalate": (_GROUP, "roles", "escalate"),
        "the status of runs": ("kubernaut.io", "workflowexecutions/status", "patch"),
        "the status of Workflows": ("kubernaut.io", "workflows/status", "patch"),
        "the status of patterns": ("kubernaut.io", "discoveredpatterns/status", "patch"),
        "the finalizers of runs": ("kubernaut.io", "workflowexecutions/finalizers", "update"),
        "patterns made up": ("kubernaut.io", "discoveredpatterns", "create"),
        "snapshots": ("apps", "controllerrevisions", "create"),
        "all of our kinds": ("kubernaut.io", "*", "*"),
    }
    own = rbac("roles", SHOP, "kubernaut-repair")
    nodes = _role("kubernaut-repair", ("", "nodes", "patch"))
    more = {"rules": _role("", ("", "pods", "get"))["rules"]}
    acting = rbac("roles", SHOP, "kubernaut-impersonate")
    anybody = {"rules": _role("", ("", "users", "impersonate"))["rules"]}
    account = [
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts"],
            "verbs": ["impersonate"],
            "resourceNames": ["default"],
        }
    ]
    return [
        *(
            Row(ESCALATE, f"gives itself {told}", ask.saying(_role("new", rule)), RBAC, ask)
            for told, rule in rules.items()
        ),
        Row(
            ESCALATE,
            "adds nodes to the account's Role",
            patch(HEAD, own, {"rules": nodes["rules"]}),
            RBAC,
            patch(HEAD, own, more),
        ),
        Row(ESCALATE, "adds to the account's Role", patch(ADA, own, more), RBAC, patch(HEAD, own, more)),
        Row(
            ESCALATE,
            "adds to the account's Role as an editor",
            patch(EDITH, own, more),
            RBAC,
            patch(HEAD, own, more),
        ),
        Row(ESCALATE, "adds to its own Role", patch(REPAIR, own, more), RBAC, patch(HEAD, own, more)),
        Row(
            ESCALATE,
            "lets the operator act as anybody",
            patch(HEAD, acting, anybody),
            RBAC,
            patch(HEAD, acting, {"rules": account}),
        ),
        Row(
            ESCALATE,
            "adds to its own ClusterRole",
            patch(OPERATOR, rbac("clusterroles", "", "kubernaut-operator"), more),
            RBAC,
            patch(ROOT, rbac("clusterroles", "", "kubernaut-operator"), more),
        ),
        Row(
            ESCALATE,
            "adds to its own Role",
            patch(ANALYST, rbac("roles", SYSTEM, "kubernaut-analyst"), more),
            RBAC,
            patch(ROOT, rbac("roles", SYSTEM, "kubernaut-analyst"), more),
        ),
        Row(
            ESCALATE,
            "makes a Role in another tenant's namespace",
            ask.by(MALLORY),
            RBAC,
            ask.by(MALLORY).at(rbac("roles", MILL)),
        ),
    ]


def _aggregated() -> list[Row]:
    roles = rbac("clusterroles")
    joined = _role("new", ("", "nodes/proxy", "get"), labels={f"{_GROUP}/aggregate-to-edit": "true"})
    edit = rbac("clusterroles", "", "kubernaut-edit")
    label = {"metadata": {"labels": {f"{_GROUP}/aggregate-to-view": "true"}}}
    theirs, fresh = ours("workflows", SHOP, "theirs"), ours("workflowexecutions", SHOP, "fresh")
    pattern, mute = ours("discoveredpatterns", SHOP, "seen"), {"spec": {"muted": True}}
    return [
        Row(AGGREGATED, "adds a role to edit", post(HEAD, roles, joined), RBAC, post(ROOT, roles, joined)),
        Row(
            AGGREGATED, "adds a role to edit", post(OPERATOR, roles, joined), RBAC, post(ROOT, roles, joined)
        ),
        Row(
            AGGREGATED,
            "adds kubernaut-edit to view",
            patch(HEAD, edit, label),
            RBAC,
            patch(ROOT, edit, label),
        ),
        Row(AGGREGATED, "takes kubernaut-edit away", delete(HEAD, edit), RBAC, delete(ROOT, edit)),
        Row(AGGREGATED, "deletes a Workflow with view", delete(VERA, theirs), RBAC, get(VERA, theirs)),
        Row(
            AGGREGATED,
            "pauses a run with view",
            patch(VERA, fresh, {"spec": {"control": {"paused": True}}}),
            RBAC,
            get(VERA, fresh),
        ),
        Row(
            AGGREGATED,
            "mutes a pattern with view",
            patch(VERA, pattern, mute),
            RBAC,
            patch(ADA, pattern, mute),
        ),
        Row(AGGREGATED, "deletes a pattern with edit", delete(EDITH, pattern), RBAC, delete(HEAD, pattern)),
        Row(
            AGGREGATED,
            "deletes a run with the right to approve",
            delete(GRACE, fresh),
            RBAC,
            get(GRACE, fresh),
        ),
        Row(
            AGGREGATED,
            "reads a run with nothing but kubernaut-edit",
            get(ADA, fresh),
            RBAC,
            get(EDITH, fresh),
        ),
    ]


def _impersonate() -> list[Row]:
    def acting(who: str, user: str, where: str = SHOP, **headers: str) -> Ask:
        names = tuple((name.replace("_", "-"), text) for name, text in headers.items())
        path = group("apps/v1", "deployments", where)
        return Ask(who, "GET", path, acting=user, headers=names)

    own = f"system:serviceaccount:{SHOP}:kubernaut-repair"
    twin = acting(OPERATOR, own)
    users = {
        "another account of the namespace": f"system:serviceaccount:{SHOP}:default",
        "an account of a namespace that did not allow it": f"system:serviceaccount:{FLEET}:kubernaut-repair",
        "a controller": "system:serviceaccount:kube-system:namespace-controller",
        "the analyst": f"system:serviceaccount:{ANALYST}",
        "the cluster's administrator": "admin",
        "a person": "ada",
        "a node": "system:node:node-1",
        "the scheduler": "system:kube-scheduler",
        "nobody": "system:anonymous",
    }
    boss = acting(BOSS, f"system:serviceaccount:{MILL}:kubernaut-repair", MILL)
    return [
        *(
            Row(IMPERSONATE, f"acts as {told}", acting(OPERATOR, name), RBAC, twin)
            for told, name in users.items()
        ),
        Row(
            IMPERSONATE,
            "acts as the account and the masters of the cluster",
            acting(OPERATOR, own, Impersonate_Group="system:masters"),
            RBAC,
            twin,
        ),
        Row(
            IMPERSONATE,
            "acts as the account with a claim of its own",
            acting(OPERATOR, own, Impersonate_Extra_scopes="all"),
            RBAC,
            twin,
        ),
        Row(
            IMPERSONATE,
            "acts as the account under another UID",
            acting(OPERATOR, own, Impersonate_Uid="1"),
            RBAC,
            twin,
        ),
        Row(IMPERSONATE, "acts as an account", acting(ANALYST, own), RBAC, twin),
        Row(
            IMPERSONATE,
            "acts as another account",
            acting(REPAIR, f"system:serviceaccount:{SHOP}:default"),
            RBAC,
            twin,
        ),
        Row(
            IMPERSONATE,
            "acts as the operator",
            acting(REPAIR, f"system:serviceaccount:{OPERATOR}"),
            RBAC,
            twin,
        ),
        Row(IMPERSONATE, "acts as another tenant's account", acting(BOSS, own), RBAC, boss),
        Row(
            IMPERSONATE, "acts as the operator", acting(BOSS, f"system:serviceaccount:{OPERATOR}"), RBAC, boss
        ),
        Row(
            IMPERSONATE,
            "goes beyond its namespace as the account",
            twin.at(group("apps/v1", "deployments", MILL)),
            RBAC,
            twin,
        ),
    ]


def _tokens() -> list[Row]:
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    here = core("serviceaccounts", SHOP, "kubernaut-repair", "token")
    mine = core("serviceaccounts", MILL, "kubernaut-repair", "token")
    its = core("serviceaccounts", SYSTEM, "kubernaut-operator", "token")
    ask = post(MALLORY, mine, request)
    secret = {
        "metadata": {
            "name": "new",
            "annotations": {"kubernetes.io/service-account.name": "kubernaut-repair"},
        },
        "type": "kubernetes.io/service-account-token",
    }
    return [
        Row(TOKEN, "asks for the account's token", ask.by(OPERATOR).at(here), RBAC, ask),
        Row(TOKEN, "asks for its own token", ask.by(OPERATOR).at(its), RBAC, ask),
        Row(TOKEN, "asks for the operator's token", ask.by(ANALYST).at(its), RBAC, ask),
        Row(TOKEN, "asks for its own token", ask.by(REPAIR).at(here), RBAC, ask),
        Row(TOKEN, "asks for the account's token", ask.by(ADA).at(here), RBAC, ask),
        Row(TOKEN, "asks for the account's token", ask.by(GRACE).at(here), RBAC, ask),
        Row(TOKEN, "asks for another tenant's token", ask.at(here), RBAC, ask),
        Row(TOKEN, "asks for the operator's token", ask.at(its), RBAC, ask),
        Row(
            TOKEN,
            "has a token put into a Secret",
            post(OPERATOR, core("secrets", SHOP), secret),
            RBAC,
            post(HEAD, core("secrets", SHOP), secret),
        ),
        Row(
            TOKEN,
            "has a token put into a Secret",
            post(REPAIR, core("secrets", SHOP), secret),
            RBAC,
            post(HEAD, core("secrets", SHOP), secret),
        ),
    ]


ROWS = [*_bind(), *_escalate(), *_aggregated(), *_impersonate(), *_tokens()]
