"""From a kind to the group and the resource that rights are given on."""

from __future__ import annotations


def group_of(api_version: str) -> str:
    """Return the API group; the core group is empty."""
    return api_version.rpartition("/")[0]


def resource_of(kind: str) -> str:
    """Return the resource name of a kind, as ``meta.UnsafeGuessKindToResource`` of apimachinery guesses it."""
    lower = kind.lower()
    if lower == "endpoints":
        return lower
    # metrics.k8s.io serves PodMetrics under the name of what they measure.
    if kind == "PodMetrics":
        return "pods"
    if lower.endswith("s"):
        return f"{lower}es"
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"
