"""Steps whose effects tests can see, all of them on the Deployment ``web``."""

from __future__ import annotations

from typing import Any

from kubernaut.core.ports import Manifest


def note(name: str, *needs: str, **more: Any) -> Manifest:
    """Return a step that writes its own name into an annotation of ``web``: a fenced effect that shows."""
    patch = {"metadata": {"annotations": {f"did-{name}": "yes"}}}
    return acting(name, *needs, patch=patch, **more)


def acting(name: str, *needs: str, patch: Manifest, expect: Manifest | None = None, **more: Any) -> Manifest:
    """Return a step that patches ``web``."""
    with_ = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": patch}
    if expect is not None:
        with_["expect"] = expect
    return {"name": name, "action": "patch_resource", "dependsOn": list(needs), "with": with_, **more}


def gate(name: str, *needs: str, label: str = "go") -> Manifest:
    """Return a step that waits until ``web`` has a label."""
    holds = f"has(target.metadata.labels) && '{label}' in target.metadata.labels"
    return {"name": name, "dependsOn": list(needs), "wait": {"until": holds}, "timeout": "2m"}


def chain(count: int) -> list[Manifest]:
    """Return fenced steps, one after the other."""
    return [note(f"s{at}", *([f"s{at - 1}"] if at else [])) for at in range(count)]


def slow_chain(count: int, pause: str = "100ms") -> list[Manifest]:
    """Return fenced steps with pauses between them, so that there is time to interfere."""
    found: list[Manifest] = []
    for at in range(count):
        found.append(note(f"s{at}", *([f"p{at - 1}"] if at else [])))
        found.append({"name": f"p{at}", "dependsOn": [f"s{at}"], "wait": {"duration": pause}})
    return found
