"""The ``Cluster`` that the chart makes is one by CloudNativePG's own CRD, as a real API server judges it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

import chart_overlays as chart
from apiserver.acting import await_true
from apiserver.rest import Answer, Client
from cloudnativepg import cluster_definition
from kubernaut.core.ports import Manifest
from localcluster import Cluster

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io"
CLUSTERS = f"/apis/postgresql.cnpg.io/v1/namespaces/{chart.NAMESPACE}/clusters"
APPLY = "application/apply-patch+yaml"
FULL = ("postgres.cloudnativepg.imageName=registry.example/postgres:18", "postgres.cloudnativepg.size=20Gi")


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Iterator[Client]:
    """The CRD in the cluster, without its operator."""
    definition = yaml.safe_load(cluster_definition().read_text())
    with Client(cluster.kubeconfig) as admin:
        query = {"fieldManager": "test", "force": "true"}
        made = admin.request("PATCH", DEFINITION, definition, content_type=APPLY, **query)
        assert made.ok, made
        await_true(lambda: admin.request("GET", CLUSTERS).ok, "the kind is not served")
        yield admin
        admin.request("DELETE", DEFINITION)


def rendered(*values: str) -> Manifest:
    given = [part for value in values for part in ("--set", value)]
    found = chart.template(chart.helm(), "--values", str(chart.values_of("cloudnativepg")), *given)
    (manifest,) = [one for one in found if one["kind"] == "Cluster"]
    return manifest


def tried(admin: Client, manifest: Manifest) -> Answer:
    """Apply it by server-side apply, strictly, and as a dry run."""
    query = {"fieldManager": "test", "dryRun": "All", "fieldValidation": "Strict"}
    path = f"{CLUSTERS}/{manifest['metadata']['name']}"
    return admin.request("PATCH", path, manifest, content_type=APPLY, **query)


@pytest.mark.parametrize("values", [(), FULL], ids=["as the case says", "with all values"])
def test_the_cluster_of_the_chart_is_valid(defined: Client, values: tuple[str, ...]) -> None:
    manifest = rendered(*values)
    answer = tried(defined, manifest)
    assert answer.ok, answer.message
    assert kept(manifest["spec"], answer.body["spec"]) == manifest["spec"], "what was asked for is not stored"


def kept(asked: Any, stored: Any) -> Any:
    """Return what is stored of what was asked for, without what was filled in."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        return {key: kept(part, stored[key]) for key, part in asked.items() if key in stored}
    return stored


def test_what_is_no_cluster_is_refused(defined: Client) -> None:
    wrong = copy.deepcopy(rendered())
    wrong["spec"]["bootstrap"]["initdb"]["postInitSQLs"] = ["SELECT 1"]
    answer = tried(defined, wrong)
    assert not answer.ok
    assert "postInitSQLs" in answer.message
