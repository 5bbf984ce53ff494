"""patch_resource: what it changes, and what it never touches."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.patch_resource import PatchResource, PatchResourceParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Invalid, StepError
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import container, context, deployment, template
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

patch_resource = PatchResource()


def config(**data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-settings"},
        "data": data,
    }


def wanted(
    patch: Any, *, kind: str = "ConfigMap", name: str = "settings", **more: Any
) -> PatchResourceParameters:
    version = {"Deployment": "apps/v1"}.get(kind, "v1")
    given = {"apiVersion": version, "kind": kind, "name": name, "patch": patch, **more}
    return PatchResourceParameters.model_validate(given)


def on_api(**spec: Any) -> PatchResourceParameters:
    return wanted({"spec": spec}, kind="Deployment", name="api")


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ({"data": {"level": "debug"}}, {"level": "debug", "size": "1"}),
        ({"data": {"new": "x"}}, {"level": "info", "size": "1", "new": "x"}),
        ({"data": {"size": None}}, {"level": "info"}),
        ({"data": {"size": None, "level": "debug", "new": "x"}}, {"level": "debug", "new": "x"}),
    ],
)
async def test_fields_are_set_added_and_removed_once_and_put_back(patch: Any, after: dict[str, str]) -> None:
    cluster = FakeCluster().add(config(level="info", size="1"))
    await check_once_and_undone(cluster, patch_resource, context(), wanted(patch), "ConfigMap", "settings")
    again = FakeCluster().add(config(level="info", size="1"))
    await patch_resource.perform(again, context(), wanted(patch))
    assert again.find("ConfigMap", "settings")["data"] == after


async def test_labels_and_annotations_are_patched_beside_the_marker() -> None:
    cluster = FakeCluster().add(config())
    patch = {"metadata": {"labels": {"tier": "a"}, "annotations": {"example.com/owner": "ops"}}}
    await check_once_and_undone(cluster, patch_resource, context(), wanted(patch), "ConfigMap", "settings")


async def test_what_the_server_writes_is_what_undo_compares_with() -> None:
    """The API server writes 1Gi for 1024Mi and adds defaults; undo must not take that for somebody's change."""

    def defaults(manifest: Manifest) -> Manifest:
        surge = (manifest["spec"].get("strategy") or {}).get("rollingUpdate", {}).get("maxSurge")
        if surge == "50":
            manifest["spec"]["strategy"]["rollingUpdate"] = {"maxSurge": 50, "maxUnavailable": 0}
        return manifest

    cluster = FakeCluster(normalise=defaults).add(deployment())
    parameters = on_api(strategy={"rollingUpdate": {"maxSurge": "50"}})
    await check_once_and_undone(cluster, patch_resource, context(), parameters, "Deployment", "api")


async def test_a_patch_that_changes_nothing_writes_nothing() -> None:
    cluster = FakeCluster().add(config(level="info"))
    done = await patch_resource.perform(cluster, context(), wanted({"data": {"level": "info", "gone": None}}))
    assert (done.acted, cluster.writes) == (False, [])


async def test_what_the_server_refuses_in_the_dry_run_is_not_sent() -> None:
    cluster = FakeCluster(troubles={"dry-run": [Invalid("spec.replicas: must not be negative", status=422)]})
    cluster.add(deployment())
    with pytest.raises(Invalid, match="must not be negative"):
        await patch_resource.perform(cluster, context(), on_api(replicas=-1))
    assert cluster.writes == []


async def test_a_conflict_in_the_dry_run_is_decided_anew() -> None:
    cluster = FakeCluster().add(config(level="info"))
    cluster.troubles["dry-run"] = [lambda: cluster.edit("ConfigMap", "settings", {"data": {"level": "warn"}})]
    done = await patch_resource.perform(cluster, context(), wanted({"data": {"level": "debug"}}))
    assert done.changed == ('ConfigMap shop/settings: data.level: "warn" -> "debug"',)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.level", "warn"),
        ("data.missing", "x"),
        ("data.size", None),
        ("data.size", 1),
    ],
)
async def test_an_expected_value_that_is_not_there_stops_it(path: str, value: Any) -> None:
    cluster = FakeCluster().add(config(level="info", size="1"))
    with pytest.raises(StepError, match="is expected; nothing was done") as caught:
        await patch_resource.perform(
            cluster, context(), wanted({"data": {"level": "x"}}, expect={path: value})
        )
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.requests == ["get ConfigMap settings"]


async def test_expected_values_are_looked_at_again_after_a_conflict() -> None:
    cluster = FakeCluster().add(config(level="info"))
    cluster.troubles["patch"] = [lambda: cluster.edit("ConfigMap", "settings", {"data": {"level": "warn"}})]
    parameters = wanted({"data": {"level": "debug"}}, expect={"data.level": "info", "data.other": None})
    with pytest.raises(StepError, match="is expected"):
        await patch_resource.perform(cluster, context(), parameters)
    assert cluster.writes == []


async def test_undo_refuses_where_someone_changed_the_field_since() -> None:
    cluster = FakeCluster().add(config(level="info"))
    patch = {"data": {"level": "warn"}}
    await check_undo_refuses(cluster, patch_resource, context(), wanted({"data": {"level": "debug"}}), patch)


FORBIDDEN_KINDS = [
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "PersistentVolume"),
    ("apps/v1", "ControllerRevision"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1beta1", "RoleBinding"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("certificates.k8s.io/v1", "CertificateSigningRequest"),
    ("coordination.k8s.io/v1", "Lease"),
    ("storage.k8s.io/v1", "StorageClass"),
    ("kubernaut.io/v1alpha1", "Workflow"),
    ("kubernaut.io/v2", "WorkflowExecution"),
]


@pytest.mark.parametrize(("version", "kind"), FORBIDDEN_KINDS)
def test_kinds_that_rule_others_are_refused(version: str, kind: str) -> None:
    given = {"apiVersion": version, "kind": kind, "name": "x", "patch": {"spec": {"a": 1}}}
    with pytest.raises(ValidationError, match="is not touched by a step"):
        PatchResourceParameters.model_validate(given)


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"status": {"phase": "Ready"}}, "status is not patched"),
        ({"kind": "Secret"}, "kind is not patched"),
        ({"apiVersion": "v2"}, "apiVersion is not patched"),
        ({"metadata": {"finalizers": None}}, "metadata.finalizers is not patched"),
        ({"metadata": {"ownerReferences": []}}, "metadata.ownerReferences is not patched"),
        ({"metadata": {"namespace": "kube-system"}}, "metadata.namespace is not patched"),
        ({"metadata": None}, "metadata has to be a map"),
        ({"metadata": {"annotations": None}}, "has to be a map"),
        ({"metadata": {"labels": {"kubernaut.io/workflow": "x"}}}, "Kubernaut's own"),
        ({"metadata": {"annotations": {"step.kubernaut.io/run-1": None}}}, "Kubernaut's own"),
        ({}, "at least 1 item"),
    ],
)
def test_fields_that_are_not_a_steps_are_refused(patch: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(patch)


def test_the_stop_switch_is_refused() -> None:
    with pytest.raises(ValidationError, match="Kubernaut's own"):
        wanted({"data": {"acting": "on"}}, name="kubernaut-switch")


def test_an_expected_path_has_to_be_one() -> None:
    with pytest.raises(ValidationError, match="a field name is needed"):
        wanted({"data": {"a": "b"}}, expect={"spec..replicas": 1})


def pod_with(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": spec}}


def app_with(**more: Any) -> dict[str, Any]:
    return pod_with(containers=[container(**more)])


ESCALATIONS: list[dict[str, Any]] = [
    pod_with(serviceAccountName="admin"),
    pod_with(serviceAccount="admin"),
    pod_with(automountServiceAccountToken=True),
    pod_with(hostNetwork=True),
    pod_with(hostPID=True),
    pod_with(hostIPC=True),
    pod_with(nodeName="control-plane"),
    pod_with(priorityClassName="system-node-critical"),
    pod_with(runtimeClassName="none"),
    pod_with(securityContext={"runAsUser": 0}),
    pod_with(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    pod_with(volumes=[{"name": "root", "hostPath": {"path": "/"}}]),
    pod_with(volumes=[{"name": "s", "secret": {"secretName": "x"}}]),
    pod_with(volumes=[{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
    pod_with(volumes=[{"name": "s", "projected": {"sources": [{"secret": {"name": "x"}}]}}]),
    pod_with(volumes=[{"name": "c", "projected": {"sources": [{"podCertificate": {"signerName": "a/b"}}]}}]),
    pod_with(volumes=[{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "x"}}}]),
    pod_with(imagePullSecrets=[{"name": "x"}]),
    app_with(securityContext={"privileged": True}),
    app_with(securityContext={"allowPrivilegeEscalation": True}),
    app_with(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
    app_with(securityContext={"procMount": "Unmasked"}),
    app_with(securityContext={"seccompProfile": {"type": "Unconfined"}}),
    app_with(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
    app_with(ports=[{"containerPort": 80, "hostPort": 80}]),
    app_with(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
    app_with(envFrom=[{"secretRef": {"name": "s"}}]),
]


@pytest.mark.parametrize("spec", ESCALATIONS, ids=repr)
async def test_a_pod_is_not_given_more_rights_nor_secrets(spec: dict[str, Any]) -> None:
    cluster = FakeCluster().add(deployment())
    with pytest.raises(StepError, match="was not patched") as caught:
        await patch_resource.perform(cluster, context(), on_api(**spec))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.requests == ["get Deployment api"]


@pytest.mark.parametrize(
    ("had", "spec"),
    [
        ({"securityContext": {"runAsNonRoot": True}}, pod_with(securityContext=None)),
        ({"securityContext": {"runAsNonRoot": True}}, pod_with(securityContext={"runAsNonRoot": False})),
    ],
)
async def test_what_restrains_a_pod_is_not_taken_away(had: dict[str, Any], spec: dict[str, Any]) -> None:
    cluster = FakeCluster().add(deployment(pod=template(**had)))
    with pytest.raises(StepError, match="runAsNonRoot"):
        await patch_resource.perform(cluster, context(), on_api(**spec))
    assert cluster.writes == []


async def test_what_a_pod_has_already_may_stand_in_a_replaced_list() -> None:
    trusted = container(securityContext={"privileged": True}, env=[{"name": "X", "value": "1"}])
    cluster = FakeCluster().add(
        deployment(pod=template(trusted, volumes=[{"name": "r", "hostPath": {"path": "/"}}]))
    )
    newer = copy.deepcopy(trusted) | {"image": "shop/api:2"}
    done = await patch_resource.perform(
        cluster, context(), on_api(template={"spec": {"containers": [newer]}})
    )
    (told,) = done.changed
    assert told.endswith('spec.template.spec.containers[name=app].image: "shop/api:1" -> "shop/api:2"')


def test_rights_are_those_on_the_one_object() -> None:
    assert patch_resource.rights(None, wanted({"data": {"a": "b"}})) == (
        Right("get", "", "configmaps", ("settings",)),
        Right("patch", "", "configmaps", ("settings",)),
    )


def test_who_changes_replicas_has_to_see_the_autoscalers() -> None:
    listing = [str(one) for one in patch_resource.rights(None, wanted({"spec": {"replicas": 3}}))][2:]
    assert listing == ["list horizontalpodautoscalers.autoscaling"]


def test_rights_on_secrets_are_declared_where_the_patch_needs_one() -> None:
    secrets = (Right("create", "", "secrets", ()), Right("get", "", "secrets", ()))
    for patch in ({"data": {"dbPassword": "x"}}, {"data": {"a": "b" * 3000}}):
        assert patch_resource.rights(None, wanted(patch))[2:] == secrets


async def test_an_expectation_of_a_secret_is_refused_without_telling_it() -> None:
    cluster = FakeCluster().add(config(dbPassword="hunter2"))
    parameters = wanted({"data": {"dbPassword": "new"}}, expect={"data.dbPassword": "hunter1"})
    with pytest.raises(StepError, match=r"data\.dbPassword is not as expected") as caught:
        await patch_resource.perform(cluster, context(), parameters)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "--password=hunter2",
        "postgres://shop:hunter2@db/shop",
        "level=info\napi_key: hunter2",
        "token=hunter2",
    ],
)
async def test_a_text_that_speaks_of_a_secret_is_kept_apart_and_not_told(text: str) -> None:
    cluster = FakeCluster().add(config(line="plain"))
    done = await patch_resource.perform(cluster, context(), wanted({"data": {"line": text}}))
    (secret,) = await cluster.list("v1", "Secret", "shop")
    assert secret["type"] == "kubernaut.io/before-image"
    marked = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert "hunter2" not in json.dumps([marked, done.changed, done.message, dict(done.outputs)])
    assert patch_resource.rights(None, wanted({"data": {"line": text}}))[2:]


async def test_a_key_that_is_called_secret_is_no_reference_to_one() -> None:
    cluster = FakeCluster().add(config(level="debug"))
    assert (await patch_resource.perform(cluster, context(), wanted({"data": {"secret": "is out"}}))).acted


async def test_a_patch_that_changes_nothing_says_so() -> None:
    cluster = FakeCluster().add(config(level="debug"))
    done = await patch_resource.perform(cluster, context(), wanted({"data": {"level": "debug"}}))
    assert (done.acted, done.message) == (
        False,
        "nothing to do: ConfigMap shop/settings is as the patch says already",
    )
