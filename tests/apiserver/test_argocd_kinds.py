"""Our Applications and projects are ones by Argo CD's own CRDs, as a real API server judges them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

import definitions
from apiserver.defined import applied, defined, kept, tried
from apiserver.resources import make_namespace
from apiserver.rest import Client
from kubernaut.core.ports import Manifest
from localcluster import Cluster

FOLDER: Final = Path(__file__).resolve().parents[2] / "manifests" / "argocd"
PLURALS: Final = {"Application": "applications", "AppProject": "appprojects"}


def ours() -> list[Manifest]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    found = [one for name in listed for one in yaml.safe_load_all((FOLDER / name).read_text()) if one]
    return [one for one in found if one["kind"] in PLURALS]


@pytest.fixture(scope="module", autouse=True)
def _defined(cluster: Cluster) -> Iterator[None]:
    with Client(cluster.kubeconfig) as admin, defined(cluster, *definitions.argocd()):
        make_namespace(admin, "argocd")
        yield
        admin.request("DELETE", "/api/v1/namespaces/argocd")


def test_there_are_both_kinds() -> None:
    assert {one["kind"] for one in ours()} == set(PLURALS)


@pytest.mark.parametrize("manifest", ours(), ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_argo_cd_s_kinds_take_what_is_ours_and_keep_all_of_it(admin: Client, manifest: Manifest) -> None:
    answer = tried(admin, PLURALS[manifest["kind"]], manifest)
    assert answer.ok, answer.message
    assert kept(manifest["spec"], answer.body["spec"]) == manifest["spec"], "what was asked for is not stored"


@pytest.mark.parametrize("manifest", ours(), ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_a_field_that_there_is_not_is_refused(admin: Client, manifest: Manifest) -> None:
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["syncPolicies"] = {}
    answer = tried(admin, PLURALS[manifest["kind"]], wrong)
    assert not answer.ok
    assert "syncPolicies" in answer.message


@pytest.mark.parametrize("manifest", ours(), ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_applied_a_second_time_nothing_changes(admin: Client, manifest: Manifest) -> None:
    first, second = (applied(admin, PLURALS[manifest["kind"]], manifest) for _ in range(2))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
