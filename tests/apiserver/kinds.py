"""Kinds of others, made with the fields that count."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
ANYTHING: Manifest = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def crd(group: str, version: str, kind: str, spec: Manifest) -> Manifest:
    """Return a kind whose objects are in namespaces."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "properties": {"spec": spec, "status": ANYTHING, "operation": ANYTHING}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
