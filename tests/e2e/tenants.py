"""What a tenant's namespace is given, as it is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import yaml

from localcluster import Cluster

#: the account that steps act as
REPAIR: Final = "kubernaut-repair"
_TENANT: Final = Path(__file__).resolve().parents[2] / "manifests" / "tenant"


def manifests(cluster: Cluster) -> str:
    """Return manifests/tenant as JSON, with NAMESPACE where the namespace belongs."""
    rendered = cluster.run_kubectl("kustomize", str(_TENANT))
    found = [m for m in yaml.safe_load_all(rendered) if m]
    for manifest in found:
        manifest["metadata"]["namespace"] = "NAMESPACE"
        for subject in manifest.get("subjects", []):
            if subject["name"] == REPAIR:
                subject["namespace"] = "NAMESPACE"
    return json.dumps(found)
