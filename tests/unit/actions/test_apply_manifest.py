"""apply_manifest: what it applies, creates, refuses, and puts back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.apply_manifest import ApplyManifest, ApplyManifestParameters
from kubernaut.api.names import MANAGER
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Invalid, NotFound, OwnedByOthers, StepError, UnknownOutcome
from kubernaut.core.fields import parse
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import container, context, deployment, template
from unit.actions.fake import FakeCluster, Lost
from unit.actions.once import check_once_and_undone, check_undo_refuses

apply_manifest = ApplyManifest()
KEY = ("ConfigMap", "shop", "settings")


def config(**data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-settings"},
        "data": data,
    }


def manifest(kind: str = "ConfigMap", name: str = "settings", **rest: Any) -> Manifest:
    version = {"Deployment": "apps/v1"}.get(kind, "v1")
    meta = {"name": name, **rest.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **rest}


def wanted(given: Manifest | None = None, **more: Any) -> ApplyManifestParameters:
    return ApplyManifestParameters.model_validate(
        {"manifest": given or manifest(data={"level": "debug"}), **more}
    )


async def test_fields_are_applied_once_though_the_answer_is_lost_and_put_back() -> None:
    cluster = FakeCluster().add(config(level="info", size="1"))
    cluster.troubles["apply"] = [Lost(landed=True)]
    given = manifest(data={"level": "debug", "new": "x"}, metadata={"labels": {"tier": "a"}})
    done = await check_once_and_undone(
        cluster, apply_manifest, context(), wanted(given), "ConfigMap", "settings"
    )
    assert done.changed == (
        'ConfigMap shop/settings: data.level: "info" -> "debug"',
        'ConfigMap shop/settings: data.new: unset -> "x"',
        'ConfigMap shop/settings: metadata.labels.tier: unset -> "a"',
    )
    assert done.outputs == {"created": False, "first": True}


async def test_the_request_carries_the_mark_and_the_marks_of_other_runs() -> None:
    cluster = FakeCluster().add(config(level="info"))
    await apply_manifest.perform(cluster, context(run="earlier"), wanted())
    await apply_manifest.perform(cluster, context(run="later"), wanted(manifest(data={"level": "warn"})))
    marks = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert set(marks) == {"step.kubernaut.io/earlier", "step.kubernaut.io/later"}


async def test_the_mark_of_a_finished_run_goes_with_the_next_apply() -> None:
    cluster = FakeCluster().add(config(level="info"))
    action = ApplyManifest(lambda run: run == "earlier")
    await action.perform(cluster, context(run="earlier"), wanted())
    await action.perform(cluster, context(run="later"), wanted(manifest(data={"level": "warn"})))
    assert set(cluster.find("ConfigMap", "settings")["metadata"]["annotations"]) == {
        "step.kubernaut.io/later"
    }


async def test_an_object_that_is_as_the_manifest_says_is_left_alone() -> None:
    cluster = FakeCluster().add(config(level="debug"))
    done = await apply_manifest.perform(cluster, context(), wanted())
    assert (done.acted, cluster.writes) == (False, [])
    assert "nothing to do" in done.message


async def test_what_an_earlier_apply_set_and_this_one_leaves_out_is_removed_and_comes_back_with_undo() -> (
    None
):
    cluster = FakeCluster().add(config(level="info"))
    both = manifest(data={"level": "debug", "extra": "x"})
    await apply_manifest.perform(cluster, context(run="earlier"), wanted(both))
    later = context(run="later")
    done = await apply_manifest.perform(cluster, later, wanted())
    assert cluster.find("ConfigMap", "settings")["data"] == {"level": "debug"}
    assert done.outputs["first"] is False
    await apply_manifest.undo(cluster, later, wanted())
    assert cluster.find("ConfigMap", "settings")["data"] == {"level": "debug", "extra": "x"}


async def test_fields_of_other_managers_are_not_taken_unless_it_is_forced() -> None:
    cluster = FakeCluster().add(config(level="info"))
    cluster.owners[KEY] = {"kubectl": frozenset({parse("data.level")})}
    with pytest.raises(OwnedByOthers, match=r"kubectl: data\.level") as caught:
        await apply_manifest.perform(cluster, context(), wanted())
    assert caught.value.reason is Reason.FIELDS_OWNED_BY_OTHERS
    assert cluster.writes == []
    done = await apply_manifest.perform(cluster, context(), wanted(force=True))
    assert (done.acted, cluster.find("ConfigMap", "settings")["data"]) == (True, {"level": "debug"})


async def test_what_other_actions_wrote_counts_as_nobody_elses() -> None:
    """Undo writes by merge patch; without this no Workflow could apply again what was once put back."""
    cluster = FakeCluster().add(config(level="info"))
    cluster.owners[KEY] = {MANAGER: frozenset({parse("data.level")})}
    assert (await apply_manifest.perform(cluster, context(), wanted())).acted


async def test_a_conflict_is_decided_anew() -> None:
    cluster = FakeCluster().add(config(level="info"))
    cluster.troubles["apply"] = [lambda: cluster.edit("ConfigMap", "settings", {"data": {"size": "2"}})]
    done = await apply_manifest.perform(cluster, context(), wanted())
    assert done.acted
    assert cluster.find("ConfigMap", "settings")["data"] == {"level": "debug", "size": "2"}


async def test_what_the_server_refuses_in_the_dry_run_is_not_sent() -> None:
    cluster = FakeCluster(troubles={"dry-run": [Invalid("spec.replicas: must not be negative", status=422)]})
    cluster.add(config(level="info"))
    with pytest.raises(Invalid, match="must not be negative"):
        await apply_manifest.perform(cluster, context(), wanted())
    assert cluster.writes == []


async def test_an_expected_value_that_is_not_there_stops_it() -> None:
    cluster = FakeCluster().add(config(level="info"))
    with pytest.raises(StepError, match=r"data\.level is .*nothing was done"):
        await apply_manifest.perform(cluster, context(), wanted(expect={"data.level": "warn"}))
    with pytest.raises(StepError, match="nothing was done"):
        await apply_manifest.perform(FakeCluster(), context(), wanted(expect={"data.level": "warn"}))
    assert cluster.requests == ["get ConfigMap settings"]


async def test_undo_refuses_where_someone_changed_the_field_since() -> None:
    cluster = FakeCluster().add(config(level="info"))
    await check_undo_refuses(cluster, apply_manifest, context(), wanted(), {"data": {"level": "warn"}})


async def test_after_undo_the_manager_owns_nothing_that_it_had_not_owned_before() -> None:
    cluster = FakeCluster().add(config(level="info"))
    await apply_manifest.perform(cluster, context(), wanted())
    assert cluster.find("ConfigMap", "settings")["metadata"]["managedFields"]
    await apply_manifest.undo(cluster, context(), wanted())
    assert cluster.find("ConfigMap", "settings")["metadata"]["managedFields"] == []


# An object that is not there


@pytest.mark.parametrize("landed", [True, False])
async def test_an_absent_object_is_created_once_though_the_answer_is_lost(landed: bool) -> None:
    cluster = FakeCluster(troubles={"create": [Lost(landed=landed)]})
    first = await apply_manifest.perform(cluster, context(), wanted())
    again = await apply_manifest.perform(cluster, context(), wanted())
    assert first.acted
    assert first.changed == again.changed == ("ConfigMap shop/settings: created",)
    assert first.outputs == again.outputs == {"created": True, "first": True}
    assert [write[0] for write in cluster.writes] == ["create", "patch"]


async def test_who_died_between_create_and_mark_finds_the_object_to_be_its_own() -> None:
    cluster = FakeCluster(troubles={"patch": [Invalid("no", status=422)]})
    with pytest.raises(Invalid):
        await apply_manifest.perform(cluster, context(), wanted())
    done = await apply_manifest.perform(cluster, context(), wanted())
    assert done.outputs["created"] is True
    assert [write[0] for write in cluster.writes] == ["create", "patch"]


async def test_an_object_that_others_created_meanwhile_is_not_taken_for_its_own() -> None:
    cluster = FakeCluster()
    cluster.troubles["create"] = [lambda: cluster.add(config(level="info"))]
    with pytest.raises(StepError, match="was not created by this attempt") as caught:
        await apply_manifest.perform(cluster, context(), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_undo_deletes_what_was_created() -> None:
    cluster = FakeCluster(linger=False)
    await apply_manifest.perform(cluster, context(), wanted())
    done = await apply_manifest.undo(cluster, context(), wanted())
    assert (done.acted, KEY in cluster.objects) == (True, False)
    assert not (await apply_manifest.undo(cluster, context(), wanted())).acted


@pytest.mark.parametrize("patch", [{"data": {"level": "warn"}}, {"data": {"more": "x"}}, {"immutable": True}])
async def test_what_was_created_and_changed_since_is_not_deleted(patch: Manifest) -> None:
    cluster = FakeCluster()
    await apply_manifest.perform(cluster, context(), wanted())
    cluster.edit("ConfigMap", "settings", patch)
    with pytest.raises(StepError, match="changed since") as caught:
        await apply_manifest.undo(cluster, context(), wanted())
    assert caught.value.reason is Reason.CHANGED_SINCE


async def test_what_controllers_write_on_a_created_object_does_not_hinder_undo() -> None:
    cluster = FakeCluster(linger=False)
    await apply_manifest.perform(cluster, context(), wanted())
    noted = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}, "status": {"a": 1}}
    cluster.edit("ConfigMap", "settings", noted)
    assert (await apply_manifest.undo(cluster, context(), wanted())).acted


async def test_nothing_is_created_where_that_is_not_wanted() -> None:
    with pytest.raises(NotFound):
        await apply_manifest.perform(FakeCluster(), context(), wanted(whenAbsent="Refuse"))


async def test_a_create_that_may_still_come_is_told_as_an_unknown_outcome() -> None:
    with pytest.raises(UnknownOutcome, match="look for it"):
        await apply_manifest.fence(FakeCluster(), context(), wanted())
    done = await apply_manifest.fence(FakeCluster(), context(), wanted(whenAbsent="Refuse"))
    assert not done.acted


async def test_fenced_off_it_is_not_applied_any_more() -> None:
    cluster = FakeCluster().add(config(level="info"))
    assert not (await apply_manifest.fence(cluster, context(), wanted())).acted
    with pytest.raises(StepError, match="fenced off"):
        await apply_manifest.perform(cluster, context(), wanted())


async def test_what_it_did_is_recalled_without_doing_it() -> None:
    cluster = FakeCluster()
    assert await apply_manifest.recall(cluster, context(), wanted()) is None
    await apply_manifest.perform(cluster, context(), wanted())
    done = await apply_manifest.recall(cluster, context(), wanted())
    assert done is not None
    assert done.changed == ("ConfigMap shop/settings: created",)


# What it never applies


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (manifest("Secret", data={"a": "b"}), "is not touched by a step"),
        (manifest("Node", spec={}), "is not touched by a step"),
        (
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "x"}},
            "is not touched by a step",
        ),
        (
            {"apiVersion": "kubernaut.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "x"}},
            "is not touched",
        ),
        (manifest(name="kubernaut-switch", data={"acting": "on"}), "Kubernaut's own"),
        (manifest(metadata={"labels": {"kubernaut.io/a": "b"}}), "Kubernaut's own"),
        (manifest(metadata={"annotations": {"step.kubernaut.io/run-1": "{}"}}), "Kubernaut's own"),
        (manifest(metadata={"finalizers": ["a"]}), "Extra inputs"),
        (manifest(metadata={"generateName": "a"}), "Extra inputs"),
        (manifest(status={"phase": "Ready"}), "status is not patched"),
        (manifest(data={"a": None}), r"data\.a is null"),
        (manifest(data={"a": "x" * 70_000}), "at most 65536"),
        ({"kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, "metadata.name"),
    ],
)
def test_what_is_not_a_steps_to_apply_is_refused(given: Manifest, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(given)


def test_the_manager_of_other_actions_is_refused() -> None:
    with pytest.raises(ValidationError, match="choose another"):
        wanted(fieldManager="kubernaut")


async def test_another_namespace_is_refused() -> None:
    given = manifest(metadata={"namespace": "kube-system"}, data={"a": "b"})
    with pytest.raises(StepError, match="names namespace kube-system") as caught:
        await apply_manifest.perform(FakeCluster(), context(), wanted(given))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


def a_deployment(**pod: Any) -> Manifest:
    containers = [container(**pod.pop("container", {}))]
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template(*containers, **pod)}
    return manifest("Deployment", "web", spec=spec)


ESCALATIONS: list[dict[str, Any]] = [
    {"serviceAccountName": "admin"},
    {"automountServiceAccountToken": True},
    {"hostNetwork": True},
    {"hostPID": True},
    {"nodeName": "control-plane"},
    {"priorityClassName": "system-node-critical"},
    {"securityContext": {"runAsUser": 0}},
    {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
    {"volumes": [{"name": "s", "secret": {"secretName": "x"}}]},
    {"volumes": [{"name": "s", "projected": {"sources": [{"secret": {"name": "x"}}]}}]},
    {"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "x"}}}]},
    {"container": {"securityContext": {"privileged": True}}},
    {"container": {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}}},
    {"container": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
    {"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    {"container": {"envFrom": [{"secretRef": {"name": "s"}}]}},
]


@pytest.mark.parametrize("pod", ESCALATIONS, ids=repr)
async def test_neither_a_new_nor_a_known_pod_is_given_more_rights(pod: dict[str, Any]) -> None:
    given = wanted(a_deployment(**dict(pod)))
    absent, there = FakeCluster(), FakeCluster().add(deployment("web"))
    with pytest.raises(StepError, match="was not created"):
        await apply_manifest.perform(absent, context(), given)
    with pytest.raises(StepError, match="was not applied"):
        await apply_manifest.perform(there, context(), given)
    assert absent.writes == there.writes == []


async def test_a_new_pod_may_be_restrained_from_the_start() -> None:
    restrained = {
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsUser": 1000,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }
    given = a_deployment(container=restrained, automountServiceAccountToken=False)
    assert (await apply_manifest.perform(FakeCluster(), context(), wanted(given))).acted


async def test_values_that_may_be_secret_are_kept_apart_and_told_nowhere() -> None:
    cluster = FakeCluster().add(config(dbPassword="hunter1"))
    given = wanted(manifest(data={"dbPassword": "hunter2"}))
    done = await apply_manifest.perform(cluster, context(), given)
    marks = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert "hunter" not in json.dumps([done.message, *done.changed, dict(done.outputs), marks])
    assert [write[0] for write in cluster.writes] == ["create", "apply"]
    await apply_manifest.undo(cluster, context(), given)
    assert cluster.find("ConfigMap", "settings")["data"] == {"dbPassword": "hunter1"}


async def test_of_a_created_object_the_mark_holds_no_value() -> None:
    cluster = FakeCluster()
    await apply_manifest.perform(cluster, context(), wanted(manifest(data={"dbPassword": "hunter2"})))
    marks = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert "hunter2" not in json.dumps(marks)


def test_rights_are_those_on_the_object_and_on_creating_its_kind() -> None:
    object_rights = (
        Right("get", "", "configmaps", ("settings",)),
        Right("patch", "", "configmaps", ("settings",)),
    )
    assert apply_manifest.rights(None, wanted(whenAbsent="Refuse")) == object_rights
    assert apply_manifest.rights(None, wanted()) == (
        *object_rights,
        Right("create", "", "configmaps", ()),
        Right("delete", "", "configmaps", ("settings",)),
    )
