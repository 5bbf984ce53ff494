"""What the API server refuses for quotas and limits, and the few defaults that steps read back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from kubernaut.core.errors import Forbidden
from kubernaut.core.ports import Manifest
from kubernaut.core.quantity import Quantity
from kubernaut.core.selectors import meets
from kubernaut.simulation.state import State

_COUNTED: Final = {
    "Pod": "pods", "Service": "services", "ConfigMap": "configmaps", "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims", "ReplicationController": "replicationcontrollers",
}  # fmt: skip
_OVER: Final = frozenset({"Succeeded", "Failed"})
_SCOPES: Final = frozenset({"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass"})


def created(state: State, manifest: Manifest) -> Manifest:
    """Return an object as it is stored.

    Raises:
        Forbidden: a quota of its namespace is used up, or a limit range does not allow it.
    """
    if manifest["kind"] == "Pod":
        manifest = with_limits(state, manifest)
    _bounded(state, manifest)
    _within(state, manifest, {})
    return manifest


def changed(state: State, old: Manifest, new: Manifest) -> None:
    """Let an object be changed: of what a change asks for quotas and limit ranges know volumes alone.

    Raises:
        Forbidden: a quota of its namespace is used up, or a limit range does not allow it.
    """
    if new["kind"] == "PersistentVolumeClaim" and usage(new) != usage(old):
        _bounded(state, new)
        _within(state, new, usage(old))


def _within(state: State, manifest: Manifest, before: Mapping[str, Fraction]) -> None:
    namespace = manifest["metadata"].get("namespace", "")
    uses = usage(manifest)
    more = {name: value - before.get(name, Fraction(0)) for name, value in uses.items()}
    for quota in state.all("", "ResourceQuota", namespace) if namespace else ():
        if problem := exceeded(state, quota, manifest, more):
            raise Forbidden(
                f"{manifest['kind']} {namespace}/{manifest['metadata']['name']} is forbidden: exceeded quota: "
                f"{quota['metadata']['name']}, {problem}",
                status=403,
            )


def _bounded(state: State, manifest: Manifest) -> None:
    """Demand of a pod as a whole, or of a claim, what limit ranges say of those."""
    kind, namespace = manifest["kind"], manifest["metadata"].get("namespace", "")
    if kind == "Pod":
        asked = {which: resources(manifest, which) for which in ("requests", "limits")}
    elif kind == "PersistentVolumeClaim":
        size = {"storage": usage(manifest)["requests.storage"]}
        asked = {"requests": size, "limits": size}
    else:
        return
    for one in state.all("", "LimitRange", namespace) if namespace else ():
        for limit in one["spec"].get("limits") or ():
            if limit.get("type") != kind:
                continue
            for name, most in (limit.get("max") or {}).items():
                if asked["limits"].get(name, Fraction(0)) > amount(most):
                    raise Forbidden(f"maximum {name} usage per {kind} is {most}", status=403)
            for name, least in (limit.get("min") or {}).items():
                if name in asked["requests"] and asked["requests"][name] < amount(least):
                    raise Forbidden(f"minimum {name} usage per {kind} is {least}", status=403)


def _spec(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = manifest.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def with_limits(state: State, pod: Manifest) -> Manifest:
    """Return a pod with the defaults of its namespace's limit ranges.

    Raises:
        Forbidden: a container asks for more or less than one allows.
    """
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    ranges = [
        limit
        for one in state.all("", "LimitRange", namespace)
        for limit in one["spec"].get("limits") or ()
        if limit.get("type") == "Container"
    ]
    limited = {
        field: [_limited(container, ranges) for container in spec[field]]
        for field in ("containers", "initContainers")
        if spec.get(field)
    }
    return {**pod, "spec": {**spec, **limited}} if ranges else pod


def _limited(container: Mapping[str, Any], ranges: list[Any]) -> dict[str, Any]:
    given = container.get("resources") or {}
    limits, requests = dict(given.get("limits") or {}), dict(given.get("requests") or {})
    for one in ranges:
        for name, value in (one.get("default") or {}).items():
            limits.setdefault(name, value)
        for name, value in (one.get("defaultRequest") or {}).items():
            requests.setdefault(name, limits.get(name) if name in (given.get("limits") or {}) else value)
    for name, value in limits.items():
        requests.setdefault(name, value)
    for one in ranges:
        for name, most in (one.get("max") or {}).items():
            if name in limits and amount(limits[name]) > amount(most):
                raise Forbidden(
                    f"maximum {name} usage per Container is {most}, but limit is {limits[name]}", status=403
                )
        for name, least in (one.get("min") or {}).items():
            if name in requests and amount(requests[name]) < amount(least):
                told = f"minimum {name} usage per Container is {least}, but request is {requests[name]}"
                raise Forbidden(told, status=403)
    return {**container, "resources": {**given, "limits": limits, "requests": requests}}


def usage(manifest: Mapping[str, Any]) -> dict[str, Fraction]:
    """Return what an object uses of quotas."""
    kind = str(manifest["kind"])
    group = str(manifest["apiVersion"]).rpartition("/")[0]
    plural = _COUNTED.get(kind, f"{kind.lower()}s")
    one = Fraction(1)
    uses = {f"count/{plural}{'.' + group if group else ''}": one}
    if not group and kind in _COUNTED:
        uses[plural] = one
    if kind == "Pod":
        if (manifest.get("status") or {}).get("phase") in _OVER:
            # It is still there, but takes nothing any more.
            return {"count/pods": one}
        for which in ("requests", "limits"):
            for name, value in resources(manifest, which).items():
                uses[f"{which}.{name}"] = value
                if which == "requests":
                    uses[name] = value
    if kind == "PersistentVolumeClaim":
        spec = _spec(manifest)
        size = amount(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
        uses["requests.storage"] = size
        if storage := spec.get("storageClassName"):
            uses[f"{storage}.storageclass.storage.k8s.io/requests.storage"] = size
            uses[f"{storage}.storageclass.storage.k8s.io/persistentvolumeclaims"] = one
    return uses


def exceeded(
    state: State, quota: Mapping[str, Any], manifest: Mapping[str, Any], uses: Mapping[str, Fraction]
) -> str:
    """Return what of a quota would be exceeded by an object that uses so much more, or nothing."""
    spec = quota["spec"]
    if not covers(quota, manifest):
        return ""
    hard = spec.get("hard") or {}
    if "pods" in uses:
        for name in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory"):
            if name in hard and name not in uses:
                return f"must specify {name}"
    used = (quota.get("status") or {}).get("used") or {}
    for name, most in hard.items():
        wanted = uses.get(name)
        if wanted is None or wanted <= 0:
            continue
        now = used_now(state, quota, name, amount(used.get(name, "0")))
        if now + wanted > amount(most):
            return f"requested: {name}={_plain(wanted)}, used: {name}={_plain(now)}, limited: {name}={most}"
    return ""


def used_now(state: State, quota: Mapping[str, Any], name: str, told: Fraction) -> Fraction:
    """Return how much of a quota is used: what its status says, and what the simulation made and removed since."""
    namespace = quota["metadata"]["namespace"]
    for key, first in state.first.items():
        if key.namespace != namespace:
            continue
        now = state.objects.get(key)
        before, after = (
            usage(one).get(name, Fraction(0)) if one and covers(quota, one) else Fraction(0)
            for one in (first, now)
        )
        told += after - before
    return told


def covers(quota: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a quota's scopes take in an object; those with scopes take in pods alone."""
    wanted = _scopes(quota)
    return not wanted or (manifest["kind"] == "Pod" and all(_in_scope(one, manifest) for one in wanted))


def beyond(quota: Mapping[str, Any]) -> str:
    """Return a scope of a quota that is not looked at, or nothing."""
    return next((str(one["scopeName"]) for one in _scopes(quota) if one["scopeName"] not in _SCOPES), "")


def _scopes(quota: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = quota["spec"]
    plain = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*plain, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def _in_scope(scope: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    spec = _spec(pod)
    ends = spec.get("activeDeadlineSeconds") is not None
    asks = any(resources(pod, which) for which in ("requests", "limits"))
    match scope["scopeName"]:
        case "Terminating":
            return ends
        case "NotTerminating":
            return not ends
        case "BestEffort":
            return not asks
        case "NotBestEffort":
            return asks
        case "PriorityClass":
            name = spec.get("priorityClassName")
            given = {"priority": name} if name else {}
            return meets({"values": (), **scope, "key": "priority"}, given)
    return False


def resources(pod: Mapping[str, Any], which: str) -> dict[str, Fraction]:
    """Return what a pod asks for: all that runs together, or what comes before that where it is more."""
    spec = pod["spec"]
    total: dict[str, Fraction] = {}
    # Those that are begun first and go on running count with all that come after them.
    beside: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for one in spec.get("initContainers") or ():
        stays = one.get("restartPolicy") == "Always"
        for name, value in _each([one], which):
            least = beside.get(name, Fraction(0)) + value
            peak[name] = max(peak.get(name, Fraction(0)), least)
            if stays:
                beside[name] = least
    for name, value in (*_each(spec.get("containers") or (), which), *beside.items()):
        total[name] = total.get(name, Fraction(0)) + value
    for name, value in peak.items():
        total[name] = max(total.get(name, Fraction(0)), value)
    for name, text in ((spec.get("resources") or {}).get(which) or {}).items():
        # What is asked for the pod as a whole comes before what its containers ask for.
        total[name] = amount(text)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, Fraction(0)) + amount(text)
    return total


def _each(containers: Any, which: str) -> Iterator[tuple[str, Fraction]]:
    for one in containers:
        given = one.get("resources") or {}
        asked = {**((given.get("limits") or {}) if which == "requests" else {}), **(given.get(which) or {})}
        for name, text in asked.items():
            yield name, amount(text)


def amount(text: Any) -> Fraction:
    """Return a quantity's number; what is none counts as nothing."""
    try:
        return Quantity.parse(str(text)).value
    except ValueError:
        return Fraction(0)


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"
