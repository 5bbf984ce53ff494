"""Releases as Helm 3 writes them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import yaml

from kubernaut.core.ports import Manifest
from unit.actions.fake import FakeCluster

NAME = "shop"


def packed(release: Manifest) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()


def unpacked(secret: Manifest) -> Manifest:
    text = gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
    release: Manifest = json.loads(text)
    return release


def revision(
    number: int, status: str, objects: Sequence[Manifest], name: str = NAME, **more: Any
) -> Manifest:
    """Return the Secret of a revision."""
    documents = [f"---\n# Source: {name}/templates/x.yaml\n{yaml.safe_dump(one)}" for one in objects]
    release = {
        "name": name,
        "info": {
            "first_deployed": "2026-01-01T00:00:00.5Z",
            "last_deployed": f"2026-01-0{number}T00:00:00.5Z",
            "deleted": "",
            "description": "Upgrade complete",
            "status": status,
            "notes": f"notes of {number}",
        },
        "chart": {"metadata": {"name": name, "version": f"{number}.0.0"}},
        "config": {"level": number},
        "manifest": "".join(documents),
        "version": number,
        "namespace": "shop",
        **more,
    }
    labels = {
        "name": name,
        "owner": "helm",
        "status": status,
        "version": str(number),
        "createdAt": "1767225600",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"sh.helm.release.v1.{name}.v{number}", "labels": labels},
        "type": "helm.sh/release.v1",
        "data": {"release": packed(release)},
    }


def history(cluster: FakeCluster, name: str = NAME) -> dict[int, tuple[str, str]]:
    """Return status and description of each revision; label and content have to agree."""
    found = {}
    for (kind, _, secret_name), one in sorted(cluster.objects.items()):
        if kind != "Secret" or not secret_name.startswith(f"sh.helm.release.v1.{name}."):
            continue
        release, labels = unpacked(one), one["metadata"]["labels"]
        assert labels["status"] == release["info"]["status"]
        assert labels["version"] == str(release["version"])
        found[release["version"]] = (release["info"]["status"], release["info"]["description"])
    return found
