"""What the API server refuses of an object for what it says: values of the wrong shape, fields that can't change.

Of the kinds that steps change and controllers here read. What an object said before is taken as it is: a state that
was written by hand may lack much, and only what a step makes worse is refused. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from kubernaut.core.errors import Invalid
from kubernaut.core.fields import same
from kubernaut.core.kinds import group_of
from kubernaut.core.ports import Manifest
from kubernaut.core.quantity import Quantity
from kubernaut.core.selectors import LABEL, matches

_PREFIX: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_PERCENT: Final = re.compile(r"[0-9]+%", re.ASCII)
_MOST_ANNOTATED: Final = 256 * 1024
_TEMPLATED: Final = frozenset(
    {("apps", "Deployment"), ("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("apps", "DaemonSet")}
)
#: fields of a spec that can't be changed once they are set
_FIXED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps", "Deployment"): ("selector",),
    ("apps", "ReplicaSet"): ("selector",),
    ("apps", "DaemonSet"): ("selector",),
    ("batch", "Job"): (
        *("selector", "template", "completionMode", "completions", "podFailurePolicy"),
        *("backoffLimitPerIndex", "managedBy", "successPolicy"),
    ),
    ("", "Service"): ("clusterIP",),
}
#: all other fields of a spec can't be changed, be they set or not
_FREE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps", "StatefulSet"): (
        *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds"),
        "persistentVolumeClaimRetentionPolicy",
    ),
    ("", "PersistentVolumeClaim"): ("resources", "volumeAttributesClassName", "volumeName"),
    ("", "Pod"): (
        *("containers", "initContainers", "ephemeralContainers", "activeDeadlineSeconds", "tolerations"),
        *("schedulingGates", "terminationGracePeriodSeconds"),
    ),
}


def demand(old: Mapping[str, Any] | None, new: Manifest) -> None:
    """Let an object be stored, in the place of what it was.

    Raises:
        Invalid: the API server would refuse it for what it says.
    """
    known = frozenset(_wrong(old)) if old is not None else frozenset()
    for problem in (*(_changed(old, new) if old is not None else ()), *_wrong(new)):
        if problem not in known:
            raise Invalid(f"{new['kind']} {new['metadata']['name']} is invalid: {problem}", status=422)


def _kind(manifest: Mapping[str, Any]) -> tuple[str, str]:
    return group_of(str(manifest["apiVersion"])), str(manifest["kind"])


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# What an object says


def _wrong(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from _meta(_map(manifest.get("metadata")), "metadata")
    kind, spec = _kind(manifest), manifest.get("spec")
    if kind in (("", "ConfigMap"), ("", "Secret")):
        yield from _texts(manifest.get("data"), "data")
    if kind in _TEMPLATED or kind in (("batch", "Job"), ("", "Pod")):
        if not isinstance(spec, Mapping):
            yield "spec: it has to be a map"
            return
        yield from _pod(spec, "spec") if kind == ("", "Pod") else _templated(kind, spec)
    elif kind == ("autoscaling", "HorizontalPodAutoscaler"):
        yield from _autoscaler(_map(spec))
    elif kind == ("policy", "PodDisruptionBudget"):
        yield from _budget(_map(spec))


def _meta(meta: Mapping[str, Any], at: str) -> Iterator[str]:
    labels = meta.get("labels")
    yield from _texts(labels, f"{at}.labels")
    for key, value in _map(labels).items():
        prefix, slash, name = str(key).rpartition("/")
        if not LABEL.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            yield f"{at}.labels: {key!r} is no key of a label"
        if isinstance(value, str) and value and not LABEL.fullmatch(value):
            yield f"{at}.labels: {value!r} is no value of a label"
    annotations = meta.get("annotations")
    yield from _texts(annotations, f"{at}.annotations")
    size = sum(len(str(key).encode()) + len(str(text).encode()) for key, text in _map(annotations).items())
    if size > _MOST_ANNOTATED:
        yield f"{at}.annotations: they take more than {_MOST_ANNOTATED} bytes"


def _texts(given: Any, at: str) -> Iterator[str]:
    if given is not None and not isinstance(given, Mapping):
        yield f"{at}: it has to be a map"
    for key, value in _map(given).items():
        if not isinstance(value, str):
            yield f"{at}[{key}]: it has to be text"


def _templated(kind: tuple[str, str], spec: Mapping[str, Any]) -> Iterator[str]:
    for field in ("replicas", "parallelism", "completions", "backoffLimit", "minReadySeconds"):
        yield from _count(spec.get(field), f"spec.{field}")
    template = spec.get("template")
    if not isinstance(template, Mapping) or not isinstance(template.get("spec"), Mapping):
        yield "spec.template: it has to be a map with a spec"
        return
    meta = _map(template.get("metadata"))
    yield from _meta(meta, "spec.template.metadata")
    yield from _pod(template["spec"], "spec.template.spec")
    selector = spec.get("selector")
    selects = isinstance(selector, Mapping) and matches(selector, _map(meta.get("labels")))
    if kind in _TEMPLATED and selector is not None and not selects:
        yield "spec.template.metadata.labels: `selector` does not match template `labels`"
    strategy = _map(spec.get("strategy" if kind == ("apps", "Deployment") else "updateStrategy"))
    rolling = strategy.get("rollingUpdate")
    if rolling is not None and strategy.get("type", "RollingUpdate") != "RollingUpdate":
        yield f"spec.strategy.rollingUpdate: it may not be set with type {strategy['type']}"
    for field in ("maxSurge", "maxUnavailable"):
        yield from _share(_map(rolling).get(field), f"rollingUpdate.{field}")
    yield from _count(_map(rolling).get("partition"), "rollingUpdate.partition")


def _pod(spec: Mapping[str, Any], at: str) -> Iterator[str]:
    if not spec.get("containers"):
        yield f"{at}.containers: there has to be one"
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        given = spec.get(field)
        if given is not None and not (
            isinstance(given, list) and all(isinstance(one, Mapping) for one in given)
        ):
            yield f"{at}.{field}: it has to be a list of maps"
            continue
        for one in given or ():
            name = one.get("name")
            if not isinstance(name, str) or not name:
                yield f"{at}.{field}: a container has to have a name"
            elif name in names:
                yield f"{at}.{field}: there are two containers {name}"
            names.add(str(name))
            if not isinstance(one.get("image"), str) or not one["image"].strip():
                yield f"{at}.{field}[{name}].image: it has to be set"
            yield from _resources(one.get("resources"), f"{at}.{field}[{name}].resources")


def _resources(given: Any, at: str) -> Iterator[str]:
    if given is not None and not isinstance(given, Mapping):
        yield f"{at}: it has to be a map"
    read: dict[str, dict[str, Fraction]] = {}
    for which in ("limits", "requests"):
        told = _map(given).get(which)
        if told is not None and not isinstance(told, Mapping):
            yield f"{at}.{which}: it has to be a map"
        read[which] = {}
        for name, text in _map(told).items():
            try:
                value = Quantity.parse(str(text)).value
            except ValueError:
                yield f"{at}.{which}.{name}: {text!r} is no quantity"
                continue
            if value < 0:
                yield f"{at}.{which}.{name}: {text} is less than nothing"
            read[which][str(name)] = value
    for name, value in read["requests"].items():
        if value > read["limits"].get(name, value):
            yield f"{at}.requests.{name}: it is more than the limit"


def _autoscaler(spec: Mapping[str, Any]) -> Iterator[str]:
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
    yield from _count(least, "spec.minReplicas")
    yield from _count(most, "spec.maxReplicas")
    if not _counts(most) or int(most or 0) < 1:
        yield "spec.maxReplicas: it has to be 1 or more"
    elif _counts(least) and int(least or 0) > int(most or 0):
        yield "spec.maxReplicas: it has to be no less than minReplicas"


def _budget(spec: Mapping[str, Any]) -> Iterator[str]:
    for field in ("minAvailable", "maxUnavailable"):
        yield from _share(spec.get(field), f"spec.{field}")
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield "spec: minAvailable and maxUnavailable can't both be set"


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any, at: str) -> Iterator[str]:
    if value is not None and (not _counts(value) or value < 0):
        yield f"{at}: {value!r} is no number of 0 or more"


def _share(value: Any, at: str) -> Iterator[str]:
    if value is not None and not (isinstance(value, str) and _PERCENT.fullmatch(value)):
        yield from _count(value, at)


# What can't be changed


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    kind = _kind(new)
    before, after = _map(old.get("spec")), _map(new.get("spec"))
    for field in _FIXED.get(kind, ()):
        # A Job that waits to be begun may still be placed elsewhere.
        waits = kind == ("batch", "Job") and field == "template" and before.get("suspend")
        if before.get(field) is not None and not same(before[field], after.get(field)) and not waits:
            yield f"spec.{field}: field is immutable"
    free = _FREE.get(kind)
    if free is not None:
        for field in sorted({*before, *after} - {*free}):
            if not same(before.get(field), after.get(field)):
                yield f"spec.{field}: field is immutable"
    if kind == ("", "Pod"):
        yield from _pod_changed(before, after)
    if kind == ("", "PersistentVolumeClaim"):
        yield from _claim_changed(old, before, after)
    if kind == ("", "Secret") and old.get("type") not in (None, new.get("type")):
        yield "type: field is immutable"
    for name in ("data", "binaryData", "immutable"):
        if old.get("immutable") is True and not same(old.get(name), new.get(name)):
            yield f"{name}: field is immutable when `immutable` is set"


def _pod_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for field in ("containers", "initContainers"):
        then, now = ([{**one, "image": ""} for one in spec.get(field) or ()] for spec in (before, after))
        if not same(then, now):
            yield f"spec.{field}: of a pod's containers only the images can be changed"
    if any(one not in (after.get("tolerations") or ()) for one in before.get("tolerations") or ()):
        yield "spec.tolerations: of a pod they can only be added to"


def _claim_changed(
    old: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[str]:
    then, now = (_map(_map(spec.get("resources")).get("requests")).get("storage") for spec in (before, after))
    if same(then, now):
        return
    if _map(old.get("status")).get("phase") != "Bound":
        yield "spec: of a claim that is not bound nothing can be changed"
        return
    try:
        less = now is None or Quantity.parse(str(now)).value < Quantity.parse(str(then)).value
    except ValueError:
        yield f"spec.resources.requests.storage: {now!r} is no quantity"
        return
    if less:
        yield "spec.resources.requests.storage: it can't be less than before"
