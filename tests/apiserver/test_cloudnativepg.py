"""The ``Cluster`` that the chart makes is one by CloudNativePG's own CRD, as a real API server judges it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

import chart_overlays as chart
import definitions
from apiserver.defined import applied, defined, kept, tried
from apiserver.rest import Client
from kubernaut.core.ports import Manifest
from localcluster import Cluster

FULL = ("postgres.cloudnativepg.imageName=registry.example/postgres:18", "postgres.cloudnativepg.size=20Gi")


@pytest.fixture(scope="module", autouse=True)
def _defined(cluster: Cluster) -> Iterator[None]:
    with defined(cluster, definitions.cloudnativepg()):
        yield


def rendered(*values: str) -> Manifest:
    given = [part for value in values for part in ("--set", value)]
    found = chart.template(chart.helm(), "--values", str(chart.values_of("cloudnativepg")), *given)
    (manifest,) = [one for one in found if one["kind"] == "Cluster"]
    return manifest


@pytest.mark.parametrize("values", [(), FULL], ids=["as the case says", "with all values"])
def test_the_cluster_of_the_chart_is_valid(admin: Client, values: tuple[str, ...]) -> None:
    manifest = rendered(*values)
    answer = tried(admin, "clusters", manifest, chart.NAMESPACE)
    assert answer.ok, answer.message
    assert kept(manifest["spec"], answer.body["spec"]) == manifest["spec"], "what was asked for is not stored"


@pytest.mark.parametrize("values", [(), FULL], ids=["as the case says", "with all values"])
def test_applied_a_second_time_nothing_changes(
    admin: Client, namespace: str, values: tuple[str, ...]
) -> None:
    """Nothing here is filled in by CloudNativePG's own webhook, which needs its operator."""
    manifest = rendered(*values)
    manifest["metadata"] |= {"namespace": namespace}
    first, second = (applied(admin, "clusters", manifest) for _ in range(2))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_what_is_no_cluster_is_refused(admin: Client) -> None:
    wrong = copy.deepcopy(rendered())
    wrong["spec"]["bootstrap"]["initdb"]["postInitSQLs"] = ["SELECT 1"]
    answer = tried(admin, "clusters", wrong, chart.NAMESPACE)
    assert not answer.ok
    assert "postInitSQLs" in answer.message
