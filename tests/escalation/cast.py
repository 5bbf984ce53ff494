"""Who takes part in the attempts, with their rights, and what they are after; and one request as one of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from apiserver.acting import await_true
from apiserver.kinds import ANYTHING, crd
from apiserver.resources import (
    EXECUTION,
    PATTERN,
    WORKFLOW,
    allow,
    create,
    make_namespace,
    patch,
    path_of,
    smallest,
    writer_of_status,
)
from apiserver.rest import MERGE_PATCH, Answer, Client
from escalation.rows import (
    ADA,
    APPLICATION,
    ARGO,
    BOSS,
    EDITH,
    FLEET,
    GRACE,
    HEAD,
    IDA,
    KEEPER,
    MALLORY,
    MILL,
    MILO,
    POD_SECURITY,
    PRETENDER,
    RBAC,
    ROOT,
    SCHEMA,
    SHOP,
    SYSTEM,
    VAULT,
    VERA,
    Ask,
    core,
    group,
    rbac,
)
from escalation.tables.answers import approval, remedy, said
from kubernaut.api.names import FINALIZER, LABEL_CLUSTER_SCOPED
from kubernaut.api.names import PROTECTED as LABEL_PROTECTED
from kubernaut.api.rbac import REPAIR_ACCOUNT, before_image_manifests, tenant_manifests

Object = dict[str, Any]
FORGED = 9  # what a forged status says was seen
_RBAC = "rbac.authorization.k8s.io"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_IMPERSONATE = [
    {
        "apiGroups": [""],
        "resources": ["serviceaccounts"],
        "verbs": ["impersonate"],
        "resourceNames": [REPAIR_ACCOUNT],
    }
]
#: person, role and namespace
_PEOPLE = (
    (ADA, "kubernaut-edit", SHOP),
    (IDA, "kubernaut-edit", SHOP),
    (MILO, "kubernaut-edit", SHOP),
    (VERA, "kubernaut-view", SHOP),
    (GRACE, "kubernaut-approver", SHOP),
    (EDITH, "edit", SHOP),
    (HEAD, "admin", SHOP),
    # The protected namespace has an administrator, and its own administrator may not lift that either.
    (HEAD, "admin", VAULT),
    (MALLORY, "admin", MILL),
)


class Cast:
    """Everybody, and the objects that are there; ``send`` sends a request as one of them."""

    def __init__(self, admin: Client) -> None:
        self.admin = admin
        self._stack = ExitStack()
        self._clients: dict[str, Client] = {}
        self._tokens: dict[str, Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, ask: Ask) -> Answer:
        """Send a request; what would change something changes nothing."""
        client = self._bearing(ask.who) if ask.acting else self._client(ask.who)
        query = dict(ask.query) | ({} if ask.method == "GET" else {"dryRun": "All"})
        headers = (*(((("Impersonate-User", ask.acting)),) if ask.acting else ()), *ask.headers)
        body = self._whole(ask) if ask.method == "PUT" else ask.body
        return client.send(ask.method, ask.path, body, query, headers, ask.content)

    def _whole(self, ask: Ask) -> Object:
        whole: Object = _merged(self.admin.request("GET", ask.path).body, ask.body)
        return whole

    def _client(self, who: str) -> Client:
        if who == ROOT:
            return self.admin
        if who not in self._clients:
            namespace, _, name = who.rpartition(":")
            made = self.admin.account(namespace, name) if namespace else self.admin.acting_as(who)
            self._clients[who] = self._stack.enter_context(made)
        return self._clients[who]

    def _bearing(self, who: str) -> Client:
        """Return an account with a token of its own, for who acts as somebody can't be acted as."""
        if who not in self._tokens:
            namespace, name = who.split(":")
            answer = self.admin.request("POST", core("serviceaccounts", namespace, name, "token"), {})
            assert answer.ok, answer
            token = answer.body["status"]["token"]
            self._tokens[who] = self._stack.enter_context(self.admin.bearing(token))
        return self._tokens[who]

    # What is there

    def set_the_stage(self) -> None:
        """Make namespaces, rights and objects, and wait until the API server knows the rights."""
        for namespace in (SHOP, MILL, FLEET, VAULT, ARGO):
            make_namespace(self.admin, namespace)
        for manifest in (*tenant_manifests(SHOP), *tenant_manifests(MILL), *before_image_manifests(MILL)):
            self._make(_collection(manifest), manifest)
        self._objects()
        self._applications()
        self._rights()
        self._label(FLEET, LABEL_CLUSTER_SCOPED)
        self._label(VAULT, LABEL_PROTECTED)
        node = smallest(WORKFLOW, "probe", target={"apiVersion": "v1", "kind": "Node", "name": "n1"})
        # Admission knows namespaces, and RBAC roles, by watches.
        await_true(
            lambda: create(self.admin, WORKFLOW, FLEET, node, dryRun="All").ok,
            "the fleet may not reach nodes",
        )
        await_true(
            lambda: not create(self.admin, WORKFLOW, VAULT, smallest(WORKFLOW, "probe"), dryRun="All").ok,
            "the vault is not protected",
        )

    def clear_the_stage(self) -> None:
        """Delete all of it."""
        self.admin.request(
            "PATCH",
            path_of(EXECUTION, SHOP, "held"),
            {"metadata": {"finalizers": None}},
            content_type=MERGE_PATCH,
        )
        for path in (
            *(core("namespaces", "", name) for name in (SHOP, MILL, FLEET, VAULT, ARGO)),
            core("secrets", SYSTEM, "esc-other"),
            group("coordination.k8s.io/v1", "leases", SYSTEM, "esc-shard"),
            group("coordination.k8s.io/v1", "leases", SYSTEM, "esc-pause"),
            path_of(PATTERN, SYSTEM, "esc-seen"),
            rbac("rolebindings", SYSTEM, "esc-keeper"),
        ):
            self.admin.request("DELETE", path)

    def _make(self, path: str, thing: Object) -> None:
        answer = self.admin.request("POST", path, thing)
        assert answer.status in (201, 409), answer

    def _label(self, namespace: str, label: str) -> None:
        body = {"metadata": {"labels": {label: "true"}}}
        path = core("namespaces", "", namespace)
        assert self.admin.request("PATCH", path, body, content_type=MERGE_PATCH).ok

    def _objects(self) -> None:
        secret = {"metadata": {"name": "bank"}, "stringData": {"word": "x"}}
        for namespace in (SHOP, MILL):
            self._make(core("secrets", namespace), secret)
            self._make(path_of(PATTERN, namespace), smallest(PATTERN, "seen"))
        for namespace, name in ((SHOP, "theirs"), (MILL, "theirs"), (FLEET, "theirs"), (VAULT, "old")):
            self._make(path_of(WORKFLOW, namespace), smallest(WORKFLOW, name))
        for namespace, name in ((SHOP, "fresh"), (MILL, "fresh"), (SHOP, "approved"), (SHOP, "cancelled")):
            self._make(path_of(EXECUTION, namespace), smallest(EXECUTION, name))
        held = smallest(EXECUTION, "held")
        held["metadata"]["finalizers"] = [FINALIZER]
        self._make(path_of(EXECUTION, SHOP), held)
        self._make(path_of(PATTERN, SYSTEM), smallest(PATTERN, "esc-seen"))
        self._make(core("secrets", SYSTEM), {"metadata": {"name": "esc-other"}})
        for name in ("esc-shard", "esc-pause"):
            self._make(group("coordination.k8s.io/v1", "leases", SYSTEM), {"metadata": {"name": name}})
        snapshot = {"metadata": {"name": "theirs-1"}, "revision": 1, "data": {"spec": {}}}
        self._make(group("apps/v1", "controllerrevisions", SHOP), snapshot)
        for namespace, name in (PRETENDER.split(":"), BOSS.split(":")):
            self._make(core("serviceaccounts", namespace), {"metadata": {"name": name}})
        for kind, namespace, name in (
            (WORKFLOW, SHOP, "theirs"),
            (EXECUTION, SHOP, "fresh"),
            (PATTERN, SYSTEM, "esc-seen"),
        ):
            with writer_of_status(self.admin, kind) as writer:
                assert patch(
                    writer, kind, namespace, name, {"status": {"observedGeneration": 1}}, "status"
                ).ok

    def _applications(self) -> None:
        """Have an Application for each tenant, which the tenant's own account may pause."""
        made = self.admin.request("POST", _CRDS, crd("argoproj.io", "v1alpha1", "Application", ANYTHING))
        assert made.status in (201, 409), made
        applications = group("argoproj.io/v1alpha1", "applications", ARGO)
        await_true(lambda: self.admin.request("GET", applications).ok, "Applications are not served")
        for namespace in (SHOP, MILL):
            name = namespace.removeprefix("esc-")
            policy = {"automated": {"selfHeal": True}}
            made_of = {"metadata": {"name": name}, "spec": {"syncPolicy": policy}}
            self._make(applications, {**APPLICATION, **made_of})
            rule = {
                "apiGroups": ["argoproj.io"],
                "resources": ["applications"],
                "resourceNames": [name],
                "verbs": ["get", "patch"],
            }
            self._make(rbac("roles", ARGO), {"metadata": {"name": f"pause-{name}"}, "rules": [rule]})
            subject = {"kind": "ServiceAccount", "name": REPAIR_ACCOUNT, "namespace": namespace}
            self._bind(ARGO, "Role", f"pause-{name}", subject, f"pause-{name}")

    def _rights(self) -> None:
        for namespace in (SHOP, MILL):
            self._make(rbac("roles", namespace), {"metadata": {"name": "esc-acting"}, "rules": _IMPERSONATE})
        for user, role, namespace in _PEOPLE:
            allow(self.admin, namespace, user, role)
        allow(self.admin, SHOP, IDA, "esc-acting", "Role")
        allow(self.admin, MILL, MILO, "esc-acting", "Role")
        for namespace, name, role in ((*PRETENDER.split(":"), "kubernaut-edit"), (*BOSS.split(":"), "admin")):
            self._bind(
                namespace,
                "ClusterRole",
                role,
                {"kind": "ServiceAccount", "name": name, "namespace": namespace},
            )
        self._bind(
            SYSTEM,
            "Role",
            "kubernaut-switch",
            {"apiGroup": _RBAC, "kind": "User", "name": KEEPER},
            "esc-keeper",
        )
        self._answer()
        checks = (
            Ask(
                PRETENDER,
                "PATCH",
                path_of(EXECUTION, SHOP, "fresh"),
                {"spec": {"control": {"paused": True}}},
                MERGE_PATCH,
            ),
            Ask(BOSS, "GET", core("secrets", MILL)),
            Ask(KEEPER, "GET", core("configmaps", SYSTEM, "kubernaut-switch")),
            Ask(f"{MILL}:{REPAIR_ACCOUNT}", "GET", core("secrets", MILL, "bank")),
            Ask(f"{SHOP}:{REPAIR_ACCOUNT}", "GET", core("pods", SHOP)),
            *(
                Ask(f"{namespace}:{REPAIR_ACCOUNT}", "GET", _application(namespace))
                for namespace in (SHOP, MILL)
            ),
            Ask(
                f"{SYSTEM}:kubernaut-operator",
                "GET",
                group("apps/v1", "deployments", SHOP),
                acting=f"system:serviceaccount:{SHOP}:{REPAIR_ACCOUNT}",
            ),
        )
        for check in checks:
            await_true(partial(self._passes, check), f"the rights of {check.who} are not in force")

    def _passes(self, ask: Ask) -> bool:
        return self.send(ask).ok

    def _answer(self) -> None:
        where = path_of(EXECUTION, SHOP, "approved")
        grace = self._client(GRACE)
        for field, record in (("approvals", approval("grace")), ("interventions", remedy("grace"))):
            answer = grace.request("PATCH", where, said(field, record), content_type=MERGE_PATCH)
            assert answer.ok, answer
        cancel = {"spec": {"control": {"cancel": True}}}
        assert patch(self.admin, EXECUTION, SHOP, "cancelled", cancel).ok

    def _bind(self, namespace: str, kind: str, role: str, subject: Mapping[str, str], name: str = "") -> None:
        binding = {
            "metadata": {"name": name or f"esc-{subject['name']}"},
            "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
            "subjects": [subject],
        }
        self._make(rbac("rolebindings", namespace), binding)


def _application(tenant: str) -> str:
    return group("argoproj.io/v1alpha1", "applications", ARGO, tenant.removeprefix("esc-"))


def refuser(answer: Answer) -> str:
    """Say who refused a request; empty where nobody did."""
    if answer.ok:
        return ""
    _, told, rest = answer.message.partition("ValidatingAdmissionPolicy '")
    if answer.status == 422 and told:
        return f"policy {rest.partition('.')[0]}"
    if answer.status == 403 and "violates PodSecurity" in answer.message:
        return POD_SECURITY
    return {403: RBAC, 422: SCHEMA}.get(answer.status, f"HTTP {answer.status}: {answer.message}")


def dropped(answer: Answer) -> bool:
    """Whether a request was answered with an object that has nothing of the status that was forged."""
    told = answer.body.get("status") or {} if answer.ok else {"phase": "Succeeded"}
    return told.get("phase") != "Succeeded" and told.get("observedGeneration") != FORGED


def _merged(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return before | {key: _merged(before.get(key), value) for key, value in after.items()}
    return after


def _collection(manifest: Object) -> str:
    resource = f"{manifest['kind'].lower()}s"
    if manifest["apiVersion"] == "v1":
        return core(resource, manifest["metadata"]["namespace"])
    return group(manifest["apiVersion"], resource, manifest["metadata"]["namespace"])
