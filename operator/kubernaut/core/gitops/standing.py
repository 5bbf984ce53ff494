"""Whether an owner would set fields back, by the object in which it is told what it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from kubernaut.core.fields import Path, Select
from kubernaut.core.gitops.owners import Owner, Tool
from kubernaut.core.ports import ObjectRef

SKIP_RECONCILE: Final = "argocd.argoproj.io/skip-reconcile"
_JQ: Final = re.compile(r"^(\.[A-Za-z0-9_-]+(\[\])?)+$")


def standing(
    owner: Owner, said: Mapping[str, Any] | None, target: ObjectRef, ours: str = "kubernaut"
) -> Owner:
    """Return an owner as it stands.

    Args:
        said: its Application, Kustomization or HelmRelease; None where there is none in this cluster.
        target: the object that it owns fields of.
        ours: the name under which Kubernaut writes.
    """
    if not owner.undoes:
        return owner
    if said is None:
        # One Argo CD, or one Flux, may look after several clusters, and keeps what it is told in one of them.
        return replace(owner, why=f"{owner.why}; it is not in this cluster, so it may be in another")
    spec = said.get("spec") or {}
    if owner.tool is Tool.ARGO_CD:
        return _argo(owner, said, spec, target, ours)
    if spec.get("suspend") is True:
        return replace(owner, undoes=False, why="it is suspended")
    if owner.ref is not None and owner.ref.kind == "HelmRelease":
        return _helm_release(owner, spec)
    return replace(owner, why=f"{owner.why}; it reconciles every {spec.get('interval', 'so often')}")


def _argo(
    owner: Owner, said: Mapping[str, Any], spec: Mapping[str, Any], target: ObjectRef, ours: str
) -> Owner:
    notes = (said.get("metadata") or {}).get("annotations") or {}
    if notes.get(SKIP_RECONCILE) == "true":
        return replace(owner, undoes=False, why=f"annotation {SKIP_RECONCILE}")
    automated = (spec.get("syncPolicy") or {}).get("automated")
    if not isinstance(automated, Mapping) or automated.get("enabled") is False:
        return replace(owner, undoes=False, why="it is not synced automatically")
    if automated.get("selfHeal") is not True:
        return replace(owner, undoes=False, why="it does not self-heal; the next commit is synced")
    ignored = [one for one in spec.get("ignoreDifferences") or () if _speaks_of(one, target)]
    left = tuple(path for path in owner.fields if not any(_ignores(one, path, ours) for one in ignored))
    if owner.fields and not left:
        return replace(owner, undoes=False, why="its ignoreDifferences name the fields")
    return replace(owner, fields=left, why=f"{owner.why}; it self-heals")


def _speaks_of(entry: Mapping[str, Any], target: ObjectRef) -> bool:
    group = target.api_version.rpartition("/")[0]
    return (
        entry.get("group", "") in (group, "*")
        and entry.get("kind") in (target.kind, "*")
        and entry.get("name", "") in ("", target.name)
        and entry.get("namespace", "") in ("", target.namespace)
    )


def _ignores(entry: Mapping[str, Any], path: Path, ours: str) -> bool:
    if ours in (entry.get("managedFieldsManagers") or ()):
        return True
    return _pointed(entry.get("jsonPointers") or (), path) or any(
        _queried(str(one), path) for one in entry.get("jqPathExpressions") or ()
    )


def _pointed(pointers: Sequence[Any], path: Path) -> bool:
    """Whether a JSON pointer is of the field, or of something that holds it."""
    plain = [segment for segment in path if isinstance(segment, str)]
    if len(plain) != len(path):
        # Pointers number the elements of lists, which says nothing of their names.
        plain = plain[: next(at for at, one in enumerate(path) if isinstance(one, Select))]
    for pointer in pointers:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in str(pointer).split("/")[1:]]
        if parts and plain[: len(parts)] == parts:
            return True
    return False


def _queried(text: str, path: Path) -> bool:
    """Whether a plain jq path is of the field, or of what holds it; another expression is not understood."""
    if not _JQ.match(text):
        return False
    wanted: list[str] = []
    for part in text.split(".")[1:]:
        wanted.append(part.removesuffix("[]"))
        if part.endswith("[]"):
            wanted.append("[]")
    have = ["[]" if isinstance(segment, Select) else segment for segment in path]
    return have[: len(wanted)] == wanted


def _helm_release(owner: Owner, spec: Mapping[str, Any]) -> Owner:
    drift = spec.get("driftDetection") or {}
    if drift.get("mode") != "enabled":
        return replace(owner, undoes=False, why="it corrects no drift; the next upgrade writes its values")
    pointers = [
        path for one in drift.get("ignore") or () if not one.get("target") for path in one.get("paths") or ()
    ]
    left = tuple(path for path in owner.fields if not _pointed(pointers, path))
    if owner.fields and not left:
        return replace(owner, undoes=False, why="its driftDetection ignores the fields")
    return replace(owner, fields=left, why=f"{owner.why}; it corrects drift")
