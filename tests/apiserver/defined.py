"""Kinds of others in the cluster by their own CRDs, without their controllers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apiserver.acting import await_true
from apiserver.rest import Answer, Client
from kubernaut.core.ports import Manifest
from localcluster import Cluster

_APPLY = "application/apply-patch+yaml"


@contextlib.contextmanager
def defined(cluster: Cluster, *definitions: Path) -> Iterator[None]:
    """Serve the kinds meanwhile."""
    define(cluster, *definitions)
    try:
        yield
    finally:
        cluster.run_kubectl("delete", "--wait=false", *_files(definitions))


def define(cluster: Cluster, *definitions: Path) -> None:
    """Serve the kinds from now on."""
    files = _files(definitions)
    cluster.run_kubectl("apply", "--server-side", "--force-conflicts", *files)

    def established() -> bool:
        # kubectl's own waiting fails where there are no conditions yet.
        found = json.loads(cluster.run_kubectl("get", "-o", "json", *files))
        conditions = [one["status"].get("conditions") or () for one in found.get("items", [found])]
        return all(
            any(one["type"] == "Established" and one["status"] == "True" for one in of_kind)
            for of_kind in conditions
        )

    await_true(established, f"not served: {', '.join(path.name for path in definitions)}")


def _files(definitions: Sequence[Path]) -> list[str]:
    return [part for path in definitions for part in ("-f", str(path))]


def tried(admin: Client, plural: str, manifest: Manifest, namespace: str = "") -> Answer:
    """Apply an object by server-side apply, strictly, and as a dry run."""
    query = {"fieldManager": "test", "dryRun": "All", "fieldValidation": "Strict"}
    return admin.request("PATCH", _path(plural, manifest, namespace), manifest, content_type=_APPLY, **query)


def applied(admin: Client, plural: str, manifest: Manifest, namespace: str = "") -> Manifest:
    """Apply an object by server-side apply as Argo CD does; return it as it is stored."""
    query = {"fieldManager": "argocd-controller", "force": "true"}
    answer = admin.request(
        "PATCH", _path(plural, manifest, namespace), manifest, content_type=_APPLY, **query
    )
    assert answer.ok, answer.message
    stored: Manifest = answer.body
    return stored


def _path(plural: str, manifest: Manifest, namespace: str) -> str:
    meta = manifest["metadata"]
    kinds = f"/apis/{manifest['apiVersion']}/namespaces/{namespace or meta['namespace']}/{plural}"
    return f"{kinds}/{meta['name']}"


def kept(asked: Any, stored: Any) -> Any:
    """Return what is stored of what was asked for, without what was filled in."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        return {key: kept(part, stored[key]) for key, part in asked.items() if key in stored}
    return stored
