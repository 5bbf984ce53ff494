"""The rights that PauseSync needs: on the objects that keep what a run may change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubernaut.api.names import PAUSED_ANNOTATION
from kubernaut.core.gitops import pausing
from kubernaut.core.gitops.owners import Owner, owners
from kubernaut.core.gitops.standing import standing
from kubernaut.core.kinds import group_of, resource_of
from kubernaut.core.ports import ObjectRef, Right
from kubernaut.core.rights import PAUSING, Need, Weight

_CHANGING: Final = frozenset({"patch", "update", "delete"})
#: made from templates, so nobody keeps them
_MADE: Final = frozenset({("", "pods"), ("batch", "jobs")})
#: where earlier values are kept, by ourselves
_OURS: Final = frozenset({("", "secrets")})


def changed(
    needs: Iterable[Need], kinds: Mapping[tuple[str, str], tuple[str, str]], namespace: str
) -> tuple[tuple[ObjectRef, ...], tuple[str, ...]]:
    """Return the objects that a Workflow may change, and what it may change besides without naming it.

    Args:
        needs: what its account needs.
        kinds: API version and kind by group and resource, of those in namespaces.
        namespace: the Workflow's.
    """
    found: dict[ObjectRef, None] = {}
    unnamed: dict[str, None] = {}
    for need in needs:
        right = need.right
        key = right.group, right.resource.partition("/")[0]
        if right.verb not in _CHANGING or need.weight is not Weight.MUST or key in _MADE | _OURS:
            continue
        kind = kinds.get(key)
        if kind is not None and right.names:
            found |= dict.fromkeys(ObjectRef(*kind, namespace, name) for name in right.names)
        else:
            unnamed[f"{key[1]}.{key[0]}".rstrip(".")] = None
    return tuple(found), tuple(unnamed)


def keepers(manifest: Mapping[str, Any], argo_namespace: str) -> tuple[Owner, ...]:
    """Return the owners of an object that can be paused, whichever of its fields changes."""
    found = owners(manifest, (), argo_namespace=argo_namespace)
    return tuple(one for one in found if one.ref is not None and one.ref.kind in pausing.FIELDS)


def of_keeper(owner: Owner, said: Mapping[str, Any] | None, target: ObjectRef) -> tuple[Need, ...]:
    """Return what an owner has to be paused with; ``said`` is its object, None where that may not be read.

    Whoever may not read it takes it to sync, so it is read in any case. One that sets nothing back is not paused, but
    what we have paused already is held by every run that comes by.
    """
    assert owner.ref is not None
    verbs: tuple[str, ...] = ("get", "patch")
    if said is not None and not standing(owner, said, target).undoes:
        held = PAUSED_ANNOTATION in (said["metadata"].get("annotations") or {})
        verbs = verbs if held else ("get",)
    ref = owner.ref
    group, resource = group_of(ref.api_version), resource_of(ref.kind)
    return tuple(
        Need(Right(verb, group, resource, (ref.name,)), PAUSING, Weight.MUST, ref.namespace) for verb in verbs
    )
