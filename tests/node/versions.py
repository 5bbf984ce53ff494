"""The version before and today's: what each of them installs, and which of them is installed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import chart_overlays as today
import previous
from image import KINDS
from image.kinds import ROOT, USER, version
from localcluster import Cluster
from localcluster.images import REGISTRY

#: what only today's has, of each kind of thing that an upgrade brings; docs/upgrade.md has more of it
FIELD, POLICY, VERB, METRIC = "triggers", "run-alerts.kubernaut.io", "watch", "kubernaut_mirror_lag_seconds"
_PODS: Final = {"operator": 2, "analyst": 1, "postgres": 1}


@dataclass(frozen=True)
class Version:
    """A version of Kubernaut: its number and its source tree."""

    number: str
    source: Path

    @property
    def chart(self) -> str:
        return str(self.source / "charts" / "kubernaut")

    def image(self, kind: str) -> str:
        """Return the name of an image of this version."""
        return f"{REGISTRY}/kubernaut-{kind}:{self.number}"

    @property
    def policies(self) -> set[str]:
        """The names of the admission policies of its chart."""
        text = (self.source / "charts" / "kubernaut" / "templates" / "policies.yaml").read_text()
        return set(re.findall(r"^  policyName: (\S+)$", text, re.MULTILINE))


TODAY: Final = Version(version(), ROOT)


def before(folder: Path) -> Version:
    """Return the version before, unpacked into a folder."""
    return Version(previous.VERSION, previous.unpack(folder))


def embedded_before() -> dict[str, object]:
    """Return what the chart before calls an image of Postgres: one text, and whom it runs as.

    Its default is not on this node. Ours, which came later and is built under that number, takes the same variables.
    """
    return {"image": f"{REGISTRY}/kubernaut-postgres:{previous.VERSION}", "runAsUser": USER}


def is_installed(cluster: Cluster, expected: Version) -> None:
    """Fail where anything of the release is of another version."""

    def get(*what: str) -> Any:
        return json.loads(cluster.run_kubectl("get", *what, "-o", "json"))

    running = [
        container["image"]
        for pod in get("pods", "-n", today.NAMESPACE)["items"]
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        for container in pod["status"]["containerStatuses"]
    ]
    images = [expected.image(kind) for kind in KINDS for _ in range(_PODS[kind])]
    assert sorted(running) == sorted(images), f"these images run: {sorted(running)}"
    asks = "print(kubernaut.__version__, urllib.request.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    said = cluster.run_kubectl(
        *("exec", "kubernaut-operator-0", "-n", today.NAMESPACE, "--", "python3", "-c"),
        f"import kubernaut, urllib.request; {asks}",
    )
    policies = {one["metadata"]["name"] for one in get("validatingadmissionpolicies")["items"]}
    schema = get("crd", "workflows.kubernaut.io")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules = get("role", "kubernaut-operator", "-n", today.NAMESPACE)["rules"]
    (leases,) = [rule["verbs"] for rule in rules if rule["resources"] == ["leases"]]
    assert said.startswith(f"{expected.number} "), f"the operator's process is of version {said.split()[0]}"
    assert policies == expected.policies, f"these policies are there: {sorted(policies)}"
    has = {
        "field": FIELD in schema["properties"]["spec"]["properties"],
        "policy": POLICY in policies,
        "right": VERB in leases,
        "metric": METRIC in said,
    }
    assert set(has.values()) == {expected is TODAY}, has
