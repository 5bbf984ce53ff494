"""What no step may do, whatever its account may: kinds that give rights, marks, privileged pods, text as code."""

from __future__ import annotations

from typing import Any

from e2e.feed import Manifest
from e2e.websteps import acting, note
from e2e.world import Place, steps
from escalation.played.story import ENGINE, LINT, Flow, Played, flow, linted, run
from escalation.tables.reach import PRIVILEGED, SCOPE
from escalation.tables.system import SECRETS, SNAPSHOTS, SWITCH

KINDS = "objects that give rights"
MARKS = "marks forged"
INJECTION = "expression injection by parameters"
Object = dict[str, Any]

#: what is never touched, by the class it belongs to
GUARDED: tuple[tuple[str, str, str, str], ...] = (
    (SECRETS, "v1", "Secret", "bank"),
    (KINDS, "v1", "ServiceAccount", "kubernaut-repair"),
    (KINDS, "rbac.authorization.k8s.io/v1", "Role", "kubernaut-repair"),
    (KINDS, "rbac.authorization.k8s.io/v1", "RoleBinding", "kubernaut-repair"),
    (KINDS, "rbac.authorization.k8s.io/v1", "ClusterRole", "kubernaut-edit"),
    (KINDS, "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "workflow-account.kubernaut.io"),
    (KINDS, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "workflows.kubernaut.io"),
    (KINDS, "certificates.k8s.io/v1", "CertificateSigningRequest", "any"),
    (KINDS, "coordination.k8s.io/v1", "Lease", "kubernaut-shard-0"),
    (KINDS, "kubernaut.io/v1alpha1", "Workflow", "theirs"),
    (KINDS, "kubernaut.io/v1alpha1", "WorkflowExecution", "theirs"),
    (SCOPE, "v1", "Node", "n1"),
    (SCOPE, "v1", "Namespace", "kube-system"),
    (SNAPSHOTS, "apps/v1", "ControllerRevision", "theirs-1"),
    (SWITCH, "v1", "ConfigMap", "kubernaut-switch"),
)
_SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings"}


def _step(action: str, **with_: Any) -> Manifest:
    return {"name": "act", "action": action, "with": with_}


def _kinds() -> list[Played]:
    label = {"metadata": {"labels": {"a": "b"}}}
    patched = linted(flow(_step("patch_resource", **_SETTINGS, patch=label)))
    deleted = linted(flow(_step("delete_resource", **_SETTINGS)))
    found = []
    for of, version, kind, name in GUARDED:
        ref = {"apiVersion": version, "kind": kind, "name": name}
        says = "Kubernaut's own" if name == "kubernaut-switch" else "is not touched by a step"
        patch = linted(flow(_step("patch_resource", **ref, patch=label)))
        delete = linted(flow(_step("delete_resource", **ref)))
        found += [
            Played(of, f"patches a {kind}", LINT, says, patch, patched),
            Played(of, f"deletes a {kind}", LINT, says, delete, deleted),
        ]
    hidden = flow(
        _step("patch_resource", apiVersion="v1", kind="=params.kind", name="=params.name", patch=label),
        parameters=["kind", "name"],
    )
    return [
        *found,
        Played(
            INJECTION,
            "names a Secret by a parameter",
            ENGINE,
            "is not touched by a step",
            run(Flow(hidden.steps, hidden.spec, {"kind": "Secret", "name": "bank"})),
            run(Flow(hidden.steps, hidden.spec, {"kind": "ConfigMap", "name": "settings"})),
        ),
        Played(
            INJECTION,
            "names the stop switch by a parameter",
            ENGINE,
            "Kubernaut's own",
            run(Flow(hidden.steps, hidden.spec, {"kind": "ConfigMap", "name": "kubernaut-switch"})),
            run(Flow(hidden.steps, hidden.spec, {"kind": "ConfigMap", "name": "settings"})),
        ),
    ]


def _marks() -> list[Played]:
    fine = linted(flow(note("act")))
    patches: dict[str, tuple[Object, str]] = {
        "writes a mark by a patch": (
            {"metadata": {"annotations": {"step.kubernaut.io/1": "{}"}}},
            "is Kubernaut's own",
        ),
        "takes marks away": ({"metadata": {"annotations": None}}, "has to be a map"),
        "writes when it was available": (
            {"metadata": {"annotations": {"kubernaut.io/available-since": "x"}}},
            "is Kubernaut's own",
        ),
        "writes a label of Kubernaut": (
            {"metadata": {"labels": {"kubernaut.io/cluster-scoped": "true"}}},
            "is Kubernaut's own",
        ),
        "holds an object by a finalizer": (
            {"metadata": {"finalizers": ["a/b"]}},
            "metadata.finalizers is not patched",
        ),
        "gives an object an owner": (
            {"metadata": {"ownerReferences": []}},
            "metadata.ownerReferences is not patched",
        ),
        "writes who changed it": (
            {"metadata": {"managedFields": []}},
            "metadata.managedFields is not patched",
        ),
        "says how an object fares": ({"status": {"readyReplicas": 9}}, "status is not patched"),
    }
    found = [
        Played(MARKS, what, LINT, says, linted(flow(acting("act", patch=patch))), fine)
        for what, (patch, says) in patches.items()
    ]
    start = {"workflow": "theirs", "name": "x"}
    return [
        *found,
        Played(
            MARKS,
            "starts a run by the action behind subflows",
            LINT,
            "there is no action 'run_workflow'",
            linted(flow(_step("run_workflow", **start))),
            fine,
        ),
    ]


def _template(spec: Object | None = None, **container: Any) -> Manifest:
    app = {"name": "app", "image": "kubernaut.local/pause:1", **container}
    return {"spec": {"template": {"spec": {"containers": [app], **(spec or {})}}}}


def _pods() -> list[Played]:
    fine = run(flow(acting("act", patch={"spec": {"template": {"metadata": {"labels": {"newer": "yes"}}}}})))
    patches: dict[str, Manifest] = {
        "the host's network": _template({"hostNetwork": True}),
        "the host's processes": _template({"hostPID": True}),
        "another account": _template({"serviceAccountName": "cluster-root"}),
        "the account's token": _template({"automountServiceAccountToken": True}),
        "the host's disk": _template({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
        "a Secret as a volume": _template({"volumes": [{"name": "s", "secret": {"secretName": "bank"}}]}),
        "a Secret as a part of a volume": _template(
            {"volumes": [{"name": "s", "projected": {"sources": [{"secret": {"name": "bank"}}]}}]}
        ),
        "a Secret by a storage driver": _template(
            {"volumes": [{"name": "s", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "bank"}}}]}
        ),
        "a Secret as its environment": _template(envFrom=[{"secretRef": {"name": "bank"}}]),
        "a Secret as a variable": _template(
            env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "word"}}}]
        ),
        "all privileges": _template(securityContext={"privileged": True}),
        "a capability": _template(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        "root": _template(securityContext={"runAsUser": 0}),
        "another node": _template({"nodeName": "n1"}),
        "a priority": _template({"priorityClassName": "system-node-critical"}),
    }
    found = [
        Played(
            PRIVILEGED,
            f"gives a pod {what} by a patch",
            ENGINE,
            "fields that give a pod more rights",
            run(flow(acting("act", patch=patch))),
            fine,
        )
        for what, patch in patches.items()
    ]
    job = {"image": "kubernaut.local/pause:1"}
    good = linted(flow(_step("run_job", **job)))
    extra: dict[str, tuple[Object, str]] = {
        "with all privileges": ({"privileged": True}, "Extra inputs are not permitted"),
        "in the host's network": ({"hostNetwork": True}, "Extra inputs are not permitted"),
        "with the host's disk": (
            {"volumes": [{"hostPath": {"path": "/"}}]},
            "Extra inputs are not permitted",
        ),
        "as another account": ({"serviceAccountName": "cluster-root"}, "Extra inputs are not permitted"),
        "with a context of its own": (
            {"securityContext": {"privileged": True}},
            "Extra inputs are not permitted",
        ),
        "on a node of its choice": ({"nodeName": "n1"}, "Extra inputs are not permitted"),
        "in another namespace": ({"namespace": "kube-system"}, "Extra inputs are not permitted"),
        "as root": ({"runAsUser": 0}, "greater than or equal to 1"),
        "with a password for all to read": ({"env": [{"name": "PASSWORD", "value": "x"}]}, "may be a secret"),
    }
    return [
        *found,
        *(
            Played(
                PRIVILEGED,
                f"runs a Job {what}",
                LINT,
                says,
                linted(flow(_step("run_job", **job, **more))),
                good,
            )
            for what, (more, says) in extra.items()
        ),
    ]


def _annotated(text: str) -> Flow:
    patch = {"metadata": {"annotations": {"example.com/said": "=params.text"}}}
    return flow(acting("act", patch=patch), parameters=["text"], given={"text": text})


def _literally(text: str) -> Any:
    """Play a text that would do something were it code; refused means that it was taken as a text."""

    def play(place: Place, name: str) -> str:
        _annotated(text).started(place, name).end()
        said = place.get("Deployment", "web")["metadata"]["annotations"].get("example.com/said")
        return "taken as a text" if said == text else ""

    return play


def _skipped(given: str) -> Any:
    def play(place: Place, name: str) -> str:
        who = flow(
            note("act", when="params.who == 'admin'"), parameters=["who"], given={"who": given}
        ).started(place, name)
        return "" if steps(who.end())["act"]["phase"] == "Succeeded" else "the condition does not hold"

    return play


def _injection() -> list[Played]:
    fine = run(_annotated("a text"))
    texts = {
        "an expression": "=run.uid",
        "an escaped expression": "==run.uid",
        "an expression on the target": "=target.spec.template",
        "a template of shells": "${HOME} $(id) `id`",
        "a template of Helm": "{{ .Values.password }}",
        "YAML": "x\nspec: {replicas: 0}",
        "JSON": '{"spec": {"replicas": 0}}',
    }
    path = flow(acting("act", patch={"metadata": {"labels": {"a": "b"}}}), parameters=["name"])
    path.steps[0]["with"]["name"] = "=params.name"
    names = ("../secrets/bank", "web/status", "web?dryRun=All", "web%2f..%2fbank", "web#", "")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.name"}
    aimed = flow(note("act"), parameters=["name"], target=target)
    scaled = flow(
        {"name": "act", "action": "scale_deployment", "with": {"replicas": "=params.count"}},
        parameters=[{"name": "count", "type": "integer", "required": True}],
    )
    whole = flow(acting("act", patch={}), parameters=["patch"])
    whole.steps[0]["with"]["patch"] = "=params.patch"
    web = {"name": "web"}

    def of(one: Flow, **given: str) -> Any:
        return run(Flow(one.steps, one.spec, given))

    return [
        *(
            Played(INJECTION, f"gives {what}", ENGINE, "taken as a text", _literally(text), fine)
            for what, text in texts.items()
        ),
        *(
            Played(
                INJECTION,
                f"names an object {name!r}",
                ENGINE,
                "InvalidParameters",
                of(path, name=name),
                of(path, **web),
            )
            for name in names
        ),
        *(
            Played(
                INJECTION, f"names a target {name!r}", ENGINE, says, of(aimed, name=name), of(aimed, **web)
            )
            for name, says in (
                ("../secrets/bank", "can't be the name"),
                ("web/status", "can't be the name"),
                ("web?x=1", "can't be the name"),
            )
        ),
        *(
            Played(
                INJECTION,
                f"closes the quotes of a condition: {text}",
                ENGINE,
                "does not hold",
                _skipped(text),
                _skipped("admin"),
            )
            for text in ("' || true || '", "admin' || 'a' == 'a", '"admin"')
        ),
        *(
            Played(
                INJECTION,
                f"gives {text!r} for a number",
                ENGINE,
                "is not of type integer",
                of(scaled, count=text),
                of(scaled, count="1"),
            )
            for text in ("1; 2", "1e3", "=1", "0x10")
        ),
        Played(
            INJECTION,
            "asks for more than a bound allows",
            ENGINE,
            "InvalidParameters",
            of(scaled, count="100000"),
            of(scaled, count="1"),
        ),
        Played(
            INJECTION,
            "gives a parameter that is not declared",
            ENGINE,
            "declares no parameter",
            of(aimed, name="web", target="bank"),
            of(aimed, **web),
        ),
        Played(
            INJECTION,
            "gives a whole patch as a text",
            ENGINE,
            "InvalidParameters",
            of(whole, patch='{"spec": {"replicas": 0}}'),
            of(aimed, **web),
        ),
    ]


#: ``apply_manifest`` joins here: the rows of ``_pods`` and ``_kinds`` for whole manifests
APPLIED: tuple[Played, ...] = ()
ROWS: list[Played] = [*_kinds(), *_marks(), *_pods(), *_injection(), *APPLIED]
