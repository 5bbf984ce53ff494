"""Whose a field is, from the marks that Argo CD, Flux, Helm and the API server leave on an object."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.guards import GitOpsMode, Guards
from kubernaut.core.fields import parse
from kubernaut.core.gitops.changing import by_apply, by_patch, mode, refused
from kubernaut.core.gitops.owners import WHOLE, Owner, Tool, marked, owners
from kubernaut.core.gitops.standing import standing
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import ObjectRef
from unit.core.gitops_objects import (
    TRACKING,
    application,
    deployment,
    entry,
    last_applied,
    of_argo,
    of_flux,
    spec_of,
)

REPLICAS = parse("spec.replicas")
RESTARTED = parse('spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]')
WEB = ObjectRef("apps/v1", "Deployment", "shop", "web")
ARGO = entry("argocd-controller", spec_of("replicas"))


def one(manifest: Any, *paths: Any, **more: Any) -> Owner:
    (found,) = owners(manifest, paths, **more)
    return found


def test_what_has_no_marks_has_no_owner_and_costs_no_look() -> None:
    plain = deployment(entry("kubectl-client-side-apply", spec_of("replicas"), operation="Update"))
    assert not marked(plain)
    assert owners(plain, [REPLICAS]) == ()


def test_an_application_owns_the_fields_that_its_controller_applied_and_no_others() -> None:
    found = one(of_argo(ARGO), REPLICAS, parse("spec.minReadySeconds"))
    assert (found.tool, found.name) == (Tool.ARGO_CD, "Application argocd/shop")
    assert (found.fields, found.exact, found.undoes) == ((REPLICAS,), True, True)
    assert owners(of_argo(ARGO), [parse("spec.minReadySeconds")]) == ()


def test_an_application_of_another_namespace_is_named_so() -> None:
    assert one(of_argo(ARGO, app="team-a_shop"), REPLICAS).name == "Application team-a/shop"


def test_a_tracking_annotation_that_was_copied_from_another_object_says_nothing() -> None:
    copied = deployment(annotations={TRACKING: "shop:apps/Deployment:shop/other"})
    assert owners(copied, [REPLICAS]) == ()


def test_an_object_without_namespace_is_tracked_by_the_destination_of_its_application() -> None:
    node = deployment(annotations={TRACKING: "shop:apps/Deployment:shop/web"})
    del node["metadata"]["namespace"]
    assert one(node, REPLICAS).name == "Application argocd/shop"


def test_the_label_that_every_chart_sets_counts_only_where_argo_cd_wrote_the_object() -> None:
    label = {"app.kubernetes.io/instance": "shop"}
    assert owners(deployment(labels=label), [REPLICAS]) == ()
    found = one(deployment(ARGO, labels=label), REPLICAS)
    assert found.name == "Application argocd/shop"
    assert "managedFields" in found.why


def test_what_was_applied_on_the_clients_side_is_in_git_though_somebody_wrote_the_field_since() -> None:
    scaled = entry("kubectl-scale", spec_of("replicas"), operation="Update")
    found = one(of_argo(scaled, annotations=last_applied({"replicas": 3})), REPLICAS)
    assert (found.fields, found.exact) == ((REPLICAS,), True)
    assert owners(of_argo(annotations=last_applied({"paused": False})), [REPLICAS]) == ()


def test_where_the_object_does_not_tell_what_is_in_git_all_but_metadata_counts_and_that_is_said() -> None:
    found = one(of_argo(), REPLICAS, parse("metadata.labels.x"))
    assert (found.fields, found.exact) == ((REPLICAS,), False)
    assert "can't be told" in refused("the patch", found, GitOpsMode.REFUSE, None)


@pytest.mark.parametrize("manifest", [of_argo(), of_flux(), of_argo(ARGO)])
def test_a_restart_is_in_nobodys_way(manifest: Any) -> None:
    assert owners(manifest, [RESTARTED]) == ()


def test_a_kustomization_owns_what_it_applied() -> None:
    found = one(of_flux(entry("kustomize-controller", spec_of("replicas"))), REPLICAS)
    assert found.ref == ObjectRef("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "apps")
    assert found.undoes


@pytest.mark.parametrize(
    "annotation",
    [
        {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"},
        {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"},
        {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"},
    ],
)
def test_what_flux_leaves_alone_it_does_not_undo(annotation: dict[str, str]) -> None:
    found = one(of_flux(annotations=annotation), REPLICAS)
    assert not found.undoes
    assert next(iter(annotation)) in found.why


def test_helm_itself_does_not_fight_back() -> None:
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    notes = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}
    found = one(deployment(labels=labels, annotations=notes), REPLICAS)
    assert (found.tool, found.name, found.undoes) == (Tool.HELM, "Helm release shop/web", False)
    assert "next upgrade" in found.why


def test_an_autoscaler_owns_replicas_by_its_target_and_by_the_subresource() -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target}}
    found = one(deployment(), REPLICAS, autoscalers=[scaler])
    assert (found.name, found.undoes) == ("HorizontalPodAutoscaler shop/web", True)
    assert owners(deployment(), [parse("spec.paused")], autoscalers=[scaler]) == ()
    by_field = entry("kube-controller-manager", spec_of("replicas"), operation="Update", subresource="scale")
    assert one(deployment(by_field), REPLICAS).tool is Tool.AUTOSCALER


def test_another_applier_is_named_and_not_said_to_undo_anything() -> None:
    found = one(deployment(entry("terraform", spec_of("replicas"))), REPLICAS)
    assert (found.name, found.undoes) == ("field manager terraform", False)
    assert owners(deployment(entry("kubernaut", spec_of("replicas"))), [REPLICAS]) == ()


def test_an_object_that_is_deleted_is_its_owners_as_a_whole() -> None:
    found = one(of_flux(entry("kustomize-controller", spec_of("replicas"))), *WHOLE)
    assert found.told_fields == "the object"


# How an owner stands


def stands(**spec: Any) -> Owner:
    return standing(one(of_argo(ARGO), REPLICAS), application(**spec), WEB)


def test_an_application_undoes_only_where_it_self_heals() -> None:
    assert stands().undoes
    assert not stands(syncPolicy={}).undoes
    assert not stands(syncPolicy={"automated": {"prune": True}}).undoes
    assert not stands(syncPolicy={"automated": {"selfHeal": True, "enabled": False}}).undoes
    skipped = application()
    skipped["metadata"]["annotations"] = {"argocd.argoproj.io/skip-reconcile": "true"}
    assert not standing(one(of_argo(ARGO), REPLICAS), skipped, WEB).undoes


@pytest.mark.parametrize(
    ("entry_", "undoes"),
    [
        ({"jsonPointers": ["/spec/replicas"]}, False),
        ({"jsonPointers": ["/spec"]}, False),
        ({"jsonPointers": ["/spec/repl"]}, True),
        ({"jqPathExpressions": [".spec.replicas"]}, False),
        ({"jqPathExpressions": [".spec | .replicas"]}, True),
        ({"managedFieldsManagers": ["kubernaut"]}, False),
        ({"managedFieldsManagers": ["kube-controller-manager"]}, True),
        ({"jsonPointers": ["/spec/replicas"], "name": "other"}, True),
        ({"jsonPointers": ["/spec/replicas"], "kind": "StatefulSet"}, True),
    ],
)
def test_differences_that_an_application_ignores_are_not_its_own(entry_: Any, undoes: bool) -> None:
    found = stands(ignoreDifferences=[{"group": "apps", "kind": "Deployment", **entry_}])
    assert found.undoes is undoes


def test_an_owner_that_is_not_in_this_cluster_may_be_in_another() -> None:
    found = standing(one(of_argo(ARGO), REPLICAS), None, WEB)
    assert found.undoes
    assert "another" in found.why


def test_a_suspended_kustomization_undoes_nothing() -> None:
    owner = one(of_flux(), REPLICAS)
    assert standing(owner, {"spec": {"interval": "10m"}}, WEB).undoes
    assert not standing(owner, {"spec": {"suspend": True}}, WEB).undoes


def test_a_helm_release_undoes_only_where_it_corrects_drift() -> None:
    labels = {"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop"}
    owner = one(deployment(labels=labels), REPLICAS)
    assert not standing(owner, {"spec": {}}, WEB).undoes
    drift: dict[str, Any] = {"mode": "enabled"}
    assert standing(owner, {"spec": {"driftDetection": drift}}, WEB).undoes
    drift["ignore"] = [{"paths": ["/spec/replicas"]}]
    assert not standing(owner, {"spec": {"driftDetection": drift}}, WEB).undoes


# Which fields, which mode


def test_a_patch_changes_what_it_says_otherwise_and_not_our_own_marks() -> None:
    body = {
        "metadata": {"annotations": {"step.kubernaut.io/x": "mark", "team": "a"}, "resourceVersion": "7"},
        "spec": {"replicas": 5, "minReadySeconds": 0},
    }
    assert {one.path for one in by_patch(deployment(), body)} == {
        REPLICAS,
        parse("metadata.annotations.team"),
    }


def test_an_apply_changes_only_what_it_names() -> None:
    seen = deployment()
    seen["spec"]["containers"] = [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]
    given = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "b", "image": "3"}]}}
    assert [one.path for one in by_apply(seen, given)] == [parse("spec.containers[name=b].image")]


def test_the_strictest_mode_counts_and_refuse_where_none_is_said() -> None:
    def level(said: GitOpsMode | None, reach: Reach = Reach.WORKFLOW) -> Level:
        return Level(reach, "flow", Guards(git_ops=said))

    assert mode([]) == (GitOpsMode.REFUSE, None)
    act, propose = level(GitOpsMode.ACT), level(GitOpsMode.PROPOSE, Reach.CLUSTER)
    assert mode([level(None, Reach.NAMESPACE), act]) == (GitOpsMode.ACT, act)
    assert mode([act, propose]) == (GitOpsMode.PROPOSE, propose)
