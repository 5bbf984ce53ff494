"""Owners of fields: whatever is on an object, only what it can own of what changes is told."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.core.fields import Path
from kubernaut.core.gitops.changing import by_patch
from kubernaut.core.gitops.owners import Tool, marked, owners
from kubernaut.core.gitops.standing import standing
from kubernaut.core.ports import ObjectRef
from unit.core.gitops_objects import TRACKING, application, deployment, entry

NAMES = ("replicas", "paused", "minReadySeconds", "revisionHistoryLimit")
WRITERS = (
    "argocd-controller",
    "kustomize-controller",
    "helm-controller",
    "helm",
    "kubectl",
    "kubernaut",
    "x",
)
ENTRIES = st.builds(
    lambda name, fields, apply: entry(
        name, {"f:spec": {f"f:{field}": {} for field in fields}}, operation="Apply" if apply else "Update"
    ),
    st.sampled_from(WRITERS),
    st.sets(st.sampled_from(NAMES)),
    st.booleans(),
)
NOTES = st.fixed_dictionaries(
    {},
    optional={
        TRACKING: st.sampled_from(
            ["shop:apps/Deployment:shop/web", "shop:apps/Deployment:shop/x", ":", "a:b"]
        ),
        "meta.helm.sh/release-name": st.just("web"),
        "kubectl.kubernetes.io/last-applied-configuration": st.sampled_from(
            ["", "no json", "[]", "null", json.dumps({"spec": {"replicas": 1}})]
        ),
        "kustomize.toolkit.fluxcd.io/reconcile": st.sampled_from(["disabled", "enabled"]),
    },
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "kustomize.toolkit.fluxcd.io/name": st.just("apps"),
        "helm.toolkit.fluxcd.io/name": st.just("web"),
        "app.kubernetes.io/instance": st.just("shop"),
        "app.kubernetes.io/managed-by": st.just("Helm"),
    },
)
PATHS: st.SearchStrategy[list[Path]] = st.lists(
    st.sampled_from([("spec", name) for name in NAMES] + [("metadata", "labels", "a"), ("data", "k")]),
    unique=True,
)
OBJECTS = st.builds(
    lambda entries, notes, labels: deployment(*entries, annotations=notes, labels=labels),
    st.lists(ENTRIES, max_size=4),
    NOTES,
    LABELS,
)


@given(OBJECTS, PATHS)
def test_an_owner_owns_some_of_what_changes_and_nothing_else(manifest: Any, changed: list[Path]) -> None:
    for owner in owners(manifest, changed):
        assert set(owner.fields) <= set(changed)
        assert bool(owner.fields) == bool(changed)
        assert owner.told_fields


@given(OBJECTS, PATHS)
def test_what_the_cheap_question_passes_over_has_no_owner_that_undoes_anything(
    manifest: Any, changed: list[Path]
) -> None:
    if not marked(manifest):
        assert not any(owner.undoes for owner in owners(manifest, changed))


@given(OBJECTS, PATHS)
def test_who_wrote_nothing_of_it_and_left_no_tracking_owns_nothing_exactly(
    manifest: Any, changed: list[Path]
) -> None:
    wrote = {one["manager"] for one in manifest["metadata"]["managedFields"]}
    for owner in owners(manifest, changed):
        if owner.tool is Tool.ARGO_CD and TRACKING not in manifest["metadata"]["annotations"]:
            assert "argocd-controller" in wrote


@given(OBJECTS, PATHS, st.sets(st.sampled_from(NAMES)))
def test_what_is_ignored_is_never_among_what_would_be_set_back(
    manifest: Any, changed: list[Path], ignored: set[str]
) -> None:
    rule = {"group": "apps", "kind": "Deployment", "jsonPointers": [f"/spec/{name}" for name in ignored]}
    target = ObjectRef("apps/v1", "Deployment", "shop", "web")
    for owner in owners(manifest, changed):
        if owner.tool is Tool.ARGO_CD and owner.fields:
            stands = standing(owner, application(ignoreDifferences=[rule]), target)
            if stands.undoes:
                assert not {path[1] for path in stands.fields if path[0] == "spec"} & ignored


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5) | st.none()))
def test_a_patch_that_changes_nothing_has_no_fields(spec: dict[str, Any]) -> None:
    seen = deployment()
    paths = by_patch(seen, {"spec": spec})
    assert {one.path for one in paths} == {
        ("spec", name) for name, value in spec.items() if seen["spec"].get(name) != value
    }
