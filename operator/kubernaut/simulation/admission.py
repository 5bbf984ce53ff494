"""What the API server refuses for quotas and limits, and the few defaults that steps read back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from kubernaut.core.errors import Forbidden
from kubernaut.core.ports import Manifest
from kubernaut.core.quantity import Quantity
from kubernaut.simulation.state import State

_COUNTED: Final = {
    "Pod": "pods", "Service": "services", "ConfigMap": "configmaps", "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims", "ReplicationController": "replicationcontrollers",
}  # fmt: skip
_OVER: Final = frozenset({"Succeeded", "Failed"})


def created(state: State, manifest: Manifest) -> Manifest:
    """Return an object as it is stored.

    Raises:
        Forbidden: a quota of its namespace is used up, or a limit range does not allow it.
    """
    namespace = manifest["metadata"].get("namespace", "")
    if manifest["kind"] == "Pod":
        manifest = with_limits(state, manifest)
    uses = usage(manifest)
    for quota in state.all("", "ResourceQuota", namespace) if namespace else ():
        if problem := exceeded(state, quota, uses):
            raise Forbidden(
                f"{manifest['kind']} {namespace}/{manifest['metadata']['name']} is forbidden: exceeded quota: "
                f"{quota['metadata']['name']}, {problem}",
                status=403,
            )
    return manifest


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
    containers = [_limited(container, ranges) for container in spec.get("containers") or ()]
    return {**pod, "spec": {**spec, "containers": containers}} if ranges else pod


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
            return {}
        for which in ("requests", "limits"):
            for name, value in resources(manifest, which).items():
                uses[f"{which}.{name}"] = value
                if which == "requests":
                    uses[name] = value
    if kind == "PersistentVolumeClaim":
        asked = ((_spec(manifest).get("resources") or {}).get("requests") or {}).get("storage", "0")
        uses["requests.storage"] = amount(asked)
    return uses


def exceeded(state: State, quota: Mapping[str, Any], uses: Mapping[str, Fraction]) -> str:
    """Return what of a quota would be exceeded, or nothing. Quotas with scopes are not looked at."""
    spec = quota["spec"]
    if spec.get("scopes") or spec.get("scopeSelector"):
        return ""
    hard = spec.get("hard") or {}
    if "pods" in uses:
        for name in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory"):
            if name in hard and name not in uses:
                return f"must specify {name}"
    used = (quota.get("status") or {}).get("used") or {}
    for name, most in hard.items():
        wanted = uses.get(name)
        if wanted is None:
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
        before, after = (usage(one).get(name, Fraction(0)) if one else Fraction(0) for one in (first, now))
        told += after - before
    return told


def resources(pod: Mapping[str, Any], which: str) -> dict[str, Fraction]:
    """Return what a pod asks for: all containers together, or an init container where that is more."""
    spec = pod["spec"]
    total: dict[str, Fraction] = {}
    for name, value in _each(spec.get("containers") or (), which):
        total[name] = total.get(name, Fraction(0)) + value
    for name, value in _each(spec.get("initContainers") or (), which):
        total[name] = max(total.get(name, Fraction(0)), value)
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
