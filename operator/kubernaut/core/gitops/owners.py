"""Who owns the fields of an object that are about to change, as far as the object tells.

Argo CD and Flux mark what they apply, and the API server keeps who wrote which field. A field that is not in Git is
in nobody's way: neither of them sets back what it did not write. Where the object does not tell which fields those
are, all but its metadata count as theirs, and the owner says so (``exact``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from kubernaut.core import fields
from kubernaut.core.fields import Path
from kubernaut.core.managed_fields import Manager, managers
from kubernaut.core.ports import ObjectRef

#: the fields of the object as a whole: it is deleted
WHOLE: Final[tuple[Path, ...]] = ()
ARGO_TRACKING: Final = "argocd.argoproj.io/tracking-id"
ARGO_INSTANCE: Final = "app.kubernetes.io/instance"
ARGO_MANAGERS: Final = frozenset({"argocd-controller", "argocd-application-controller"})
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
KUSTOMIZE: Final = "kustomize.toolkit.fluxcd.io"
HELM_TOOLKIT: Final = "helm.toolkit.fluxcd.io"
HELM_RELEASE_NAME: Final = "meta.helm.sh/release-name"
HELM_RELEASE_NAMESPACE: Final = "meta.helm.sh/release-namespace"
APPLICATION: Final = ("argoproj.io/v1alpha1", "Application")
KUSTOMIZATION: Final = (f"{KUSTOMIZE}/v1", "Kustomization")
HELM_RELEASE: Final = (f"{HELM_TOOLKIT}/v2", "HelmRelease")
AUTOSCALER: Final = ("autoscaling/v2", "HorizontalPodAutoscaler")
#: writes replicas for autoscalers, by way of the subresource
_SCALES: Final = "kube-controller-manager"
REPLICAS: Final[Path] = ("spec", "replicas")
#: what a restart sets; it is never in Git, so nobody sets it back
_RESTARTED: Final[Path] = (
    "spec",
    "template",
    "metadata",
    "annotations",
    "kubectl.kubernetes.io/restartedAt",
)


class Tool(StrEnum):
    """Whose an owner is."""

    ARGO_CD = "Argo CD"
    FLUX = "Flux"
    HELM = "Helm"
    AUTOSCALER = "the autoscaler"
    APPLIER = "server-side apply"


@dataclass(frozen=True, slots=True)
class Owner:
    """One that owns fields which are about to change.

    Attributes:
        ref: the object that says what it wants; None where there is none, or its name is not known.
        name: what people call it, as in Application argocd/shop.
        fields: those of the changed fields that it owns; empty for the object as a whole.
        exact: whether the object tells that it owns just these.
        undoes: whether it would set them back by itself, as far as is known.
        why: what that rests on, in a few words.
    """

    tool: Tool
    ref: ObjectRef | None
    name: str
    fields: tuple[Path, ...]
    exact: bool
    undoes: bool
    why: str

    @property
    def told_fields(self) -> str:
        """The fields in words."""
        if not self.fields:
            return "the object"
        told = [fields.render(path) for path in self.fields[:4]]
        more = len(self.fields) - len(told)
        return ", ".join(told) + (f" and {more} more" if more else "")


def marked(manifest: Mapping[str, Any]) -> bool:
    """Whether an object may have owners that matter; a cheap question that most objects answer with no."""
    meta = manifest.get("metadata") or {}
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    if ARGO_TRACKING in notes or HELM_RELEASE_NAME in notes:
        return True
    if f"{KUSTOMIZE}/name" in labels or f"{HELM_TOOLKIT}/name" in labels:
        return True
    return any(
        entry.get("operation") == "Apply"
        or entry.get("subresource") == "scale"
        or entry.get("manager") in ARGO_MANAGERS
        for entry in meta.get("managedFields") or ()
    )


def names_replicas(body: Any) -> bool:
    """Whether an object, or a patch of one, says something of ``spec.replicas``, be it that it is to go."""
    spec = body.get("spec") if isinstance(body, Mapping) else None
    return isinstance(spec, Mapping) and "replicas" in spec


def owners(
    manifest: Mapping[str, Any],
    changed: Sequence[Path],
    *,
    argo_namespace: str = "argocd",
    autoscalers: Sequence[Mapping[str, Any]] = (),
    ours: Collection[str] = ("kubernaut",),
) -> tuple[Owner, ...]:
    """Return who owns the fields of an object that are about to change; those that would set them back come first.

    Args:
        manifest: the object as read, ``managedFields`` included.
        changed: the fields; none (``WHOLE``) where it is deleted.
        argo_namespace: where Applications are that name no namespace.
        autoscalers: those of its namespace, as far as they were read.
        ours: names under which Kubernaut itself writes.
    """
    wrote = [one for one in managers(manifest) if not one.subresource]
    paths = tuple(path for path in changed if path[: len(_RESTARTED)] != _RESTARTED)
    if changed and not paths:
        return ()
    found = [
        *_argo(manifest, paths, wrote, argo_namespace),
        *_flux(manifest, paths, wrote),
    ]
    if not found:
        found += _helm(manifest, paths, wrote)
    found += _scaled(manifest, paths, autoscalers)
    known = {*ARGO_MANAGERS, "kustomize-controller", "helm-controller", "helm", *ours}
    found += _appliers(paths, [one for one in wrote if one.name not in known])
    return tuple(sorted(found, key=lambda one: not one.undoes))


def _argo(
    manifest: Mapping[str, Any], paths: tuple[Path, ...], wrote: Sequence[Manager], namespace: str
) -> list[Owner]:
    own = [one for one in wrote if one.name in ARGO_MANAGERS]
    told, why = _argo_tracking(manifest), "its tracking annotation"
    if not told and own:
        # Many charts set this label too: it counts where Argo CD has written the object.
        told, why = _text(manifest, "labels", ARGO_INSTANCE), f"label {ARGO_INSTANCE} and managedFields"
    if not told:
        return []
    where, _, name = told.rpartition("_")
    ref = ObjectRef(*APPLICATION, where or namespace, name)
    mine, exact = _mine(manifest, paths, own)
    if mine is None:
        return []
    return [Owner(Tool.ARGO_CD, ref, str(ref), mine, exact, True, why)]


def _argo_tracking(manifest: Mapping[str, Any]) -> str:
    """Return the application that tracks an object; a copy of another object's annotation says nothing."""
    text = _text(manifest, "annotations", ARGO_TRACKING)
    app, _, rest = text.partition(":")
    kind, _, where = rest.rpartition(":")
    meta, group = manifest["metadata"], str(manifest.get("apiVersion", "")).rpartition("/")[0]
    this = (f"{group}/{manifest.get('kind')}", meta.get("namespace", ""), meta.get("name"))
    told = (kind, *where.partition("/")[::2])
    # What belongs to no namespace is told with that of the application's destination, or with none.
    same = told == this or (not this[1] and (told[0], told[2]) == (this[0], this[2]))
    return app if same else ""


def _flux(manifest: Mapping[str, Any], paths: tuple[Path, ...], wrote: Sequence[Manager]) -> list[Owner]:
    found: list[Owner] = []
    for prefix, kind, manager in (
        (KUSTOMIZE, KUSTOMIZATION, "kustomize-controller"),
        (HELM_TOOLKIT, HELM_RELEASE, "helm-controller"),
    ):
        name = _text(manifest, "labels", f"{prefix}/name")
        if not name:
            continue
        ref = ObjectRef(*kind, _text(manifest, "labels", f"{prefix}/namespace"), name)
        mine, exact = _mine(manifest, paths, [one for one in wrote if one.name == manager])
        if mine is None:
            continue
        off = _flux_off(manifest, prefix)
        found.append(Owner(Tool.FLUX, ref, str(ref), mine, exact, not off, off or "its labels"))
    return found


def _flux_off(manifest: Mapping[str, Any], prefix: str) -> str:
    """Return the annotation by which Flux leaves an object as it is, or nothing."""
    if _text(manifest, "annotations", f"{prefix}/reconcile") == "disabled":
        return f"annotation {prefix}/reconcile: disabled"
    apply = _text(manifest, "annotations", f"{prefix}/ssa")
    return f"annotation {prefix}/ssa: {apply}" if apply in ("IfNotPresent", "Ignore") else ""


def _helm(manifest: Mapping[str, Any], paths: tuple[Path, ...], wrote: Sequence[Manager]) -> list[Owner]:
    name = _text(manifest, "annotations", HELM_RELEASE_NAME)
    if not name or _text(manifest, "labels", "app.kubernetes.io/managed-by") != "Helm":
        return []
    where = _text(manifest, "annotations", HELM_RELEASE_NAMESPACE)
    mine, exact = _mine(manifest, paths, [one for one in wrote if one.name == "helm"])
    if mine is None:
        return []
    told = f"Helm release {where}/{name}"
    return [Owner(Tool.HELM, None, told, mine, exact, False, "the next upgrade writes its values again")]


def _scaled(
    manifest: Mapping[str, Any], paths: tuple[Path, ...], autoscalers: Sequence[Mapping[str, Any]]
) -> list[Owner]:
    if REPLICAS not in paths:
        return []
    meta = manifest["metadata"]
    for one in autoscalers:
        wanted = (one.get("spec") or {}).get("scaleTargetRef") or {}
        same_group = (
            str(wanted.get("apiVersion", "")).rpartition("/")[0]
            == str(manifest.get("apiVersion", "")).rpartition("/")[0]
        )
        if same_group and (wanted.get("kind"), wanted.get("name")) == (
            manifest.get("kind"),
            meta.get("name"),
        ):
            ref = ObjectRef(*AUTOSCALER, meta.get("namespace", ""), one["metadata"]["name"])
            return [Owner(Tool.AUTOSCALER, ref, str(ref), (REPLICAS,), True, True, "its scaleTargetRef")]
    if any(
        one.name == _SCALES and one.subresource == "scale" and one.owns(REPLICAS)
        for one in managers(manifest)
    ):
        name = "a HorizontalPodAutoscaler"
        return [Owner(Tool.AUTOSCALER, None, name, (REPLICAS,), True, True, "managedFields")]
    return []


def _appliers(paths: tuple[Path, ...], wrote: Sequence[Manager]) -> list[Owner]:
    found: list[Owner] = []
    for one in wrote:
        mine = tuple(path for path in paths if one.owns(path))
        if one.operation == "Apply" and (mine or not paths):
            why = "it applies them; whether it does so again by itself is not known"
            found.append(Owner(Tool.APPLIER, None, f"field manager {one.name}", mine, True, False, why))
    return found


def _mine(
    manifest: Mapping[str, Any], paths: tuple[Path, ...], wrote: Sequence[Manager]
) -> tuple[tuple[Path, ...] | None, bool]:
    """Return which of the fields these writers own, and whether that is exact; None where it is none of them."""
    if not paths:
        return (), True
    declared = _last_applied(manifest)
    if not wrote and declared is None:
        mine = tuple(path for path in paths if path[0] not in ("metadata", "status"))
        return mine or None, False
    mine = tuple(
        path
        for path in paths
        if any(one.owns(path) for one in wrote)
        or (declared is not None and fields.get(declared, path) is not None)
    )
    return mine or None, True


def _last_applied(manifest: Mapping[str, Any]) -> Any:
    """Return what was applied on the client's side: it is what Git says, also of a field that others wrote since."""
    try:
        return json.loads(_text(manifest, "annotations", LAST_APPLIED) or "null")
    except ValueError:
        return None


def _text(manifest: Mapping[str, Any], where: str, key: str) -> str:
    value = ((manifest.get("metadata") or {}).get(where) or {}).get(key)
    return value if isinstance(value, str) else ""
