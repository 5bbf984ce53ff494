"""What becomes of objects when their CRD is taken back to an older version, and forward again."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.acting import await_true
from apiserver.resources import WORKFLOW, smallest
from kubernaut.api.crd import WORKFLOW as KIND
from kubernaut.api.crd import crd_manifest
from localcluster import Cluster
from localcluster.errors import ClusterError

# A group of its own: other tests use the kinds as they are.
GROUP = "versions.kubernaut.test"
CRD = f"workflows.{GROUP}"


def crd(*, newer: bool) -> dict[str, Any]:
    """Return the CRD of Workflows, with a field that a later version might have, or as it is."""
    made = copy.deepcopy(crd_manifest(KIND))
    made["metadata"] = {"name": CRD}
    made["spec"]["group"] = GROUP
    made["spec"]["names"] |= {"shortNames": [], "categories": []}
    if newer:
        schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"]["spec"]["properties"]["later"] = {"type": "string"}
    return made


class Versions:
    """A Workflow in a group of its own, and its CRD at one version or another."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def take(self, *, newer: bool) -> None:
        """Apply that version, and wait until the API server goes by it."""
        self.cluster.run_kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(crd(newer=newer)))
        self.cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{CRD}")
        await_true(lambda: self._knows() is newer, "the API server does not go by the CRD")

    def _knows(self) -> bool:
        probe = json.dumps(workflow("probe"))
        options = ("--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-")
        try:
            told = self.cluster.run_kubectl("create", *options, stdin=probe)
        except ClusterError:  # a kind that was just made is not there for a moment
            return False
        return "later" in json.loads(told)["spec"]

    def create(self, name: str) -> None:
        """Create a Workflow with the field, under the newer version."""
        self.take(newer=True)
        self.cluster.run_kubectl("create", "-f", "-", stdin=json.dumps(workflow(name)))

    def later(self, name: str) -> Any:
        """Return the field as it is told."""
        return json.loads(self.cluster.run_kubectl("get", CRD, name, "-o", "json"))["spec"].get("later")


def workflow(name: str) -> dict[str, Any]:
    """Return a Workflow of the group with the field that only the newer version knows."""
    made = smallest(WORKFLOW, name, later="kept")
    return made | {"apiVersion": f"{GROUP}/v1alpha1"}


@pytest.fixture(scope="module")
def versions(cluster: Cluster) -> Iterator[Versions]:
    yield Versions(cluster)
    cluster.run_kubectl("delete", "crd", CRD, "--timeout=30s")


def test_a_field_that_an_older_crd_does_not_know_is_hidden_and_comes_back_with_the_newer_one(
    versions: Versions,
) -> None:
    versions.create("read")
    assert versions.later("read") == "kept"
    versions.take(newer=False)
    assert versions.later("read") is None
    versions.take(newer=True)
    assert versions.later("read") == "kept"


def test_what_is_written_under_the_older_crd_loses_the_field_for_good(versions: Versions) -> None:
    versions.create("written")
    versions.take(newer=False)
    versions.cluster.run_kubectl("label", CRD, "written", "seen=yes")
    versions.take(newer=True)
    assert versions.later("written") is None
