"""What ``patch_resource`` and its like must not touch, whatever the account may do. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import group_of
from kubernaut.api.names import GROUP, SWITCH_CONFIGMAP
from kubernaut.core import fields, redacting

# Kinds that give rights, change what the API server admits, hold secrets, or are Kubernaut's own.
_GROUPS: Final = frozenset(
    {
        GROUP,
        "rbac.authorization.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "node.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)
_KINDS: Final = frozenset(
    {
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("", "Event"),
        ("apps", "ControllerRevision"),
        ("events.k8s.io", "Event"),
    }
)
# Fields of pods, wherever a template of one may stand, that give it more than it had.
_ESCALATING: Final = frozenset(
    {
        "serviceAccountName", "serviceAccount", "automountServiceAccountToken", "hostNetwork", "hostPID", "hostIPC",
        "hostUsers", "hostPath", "hostPort", "hostAliases", "nodeName", "privileged", "allowPrivilegeEscalation",
        "capabilities", "procMount", "runAsUser", "runAsGroup", "runAsNonRoot", "runAsUserName", "seLinuxOptions",
        "seccompProfile", "appArmorProfile", "windowsOptions", "supplementalGroups", "fsGroup", "sysctls",
        "ephemeralContainers", "serviceAccountToken", "imagePullSecrets", "secretKeyRef", "secretRef", "secretName",
        "volumeDevices", "readOnlyRootFilesystem", "runtimeClassName", "priorityClassName", "podCertificate",
    }
)  # fmt: skip
#: the source of a projected volume that is a Secret; elsewhere the word may be a key of anything, such as a ConfigMap
_SECRET_SOURCE: Final = "secret"
#: how references to Secrets are named beside those above, as in csi.nodePublishSecretRef
_REFERENCE: Final = "SecretRef"
# Of these the value by which a pod may do less.
_RESTRAINING: Final = {
    "runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "privileged": False,
    "automountServiceAccountToken": False, "hostNetwork": False, "hostPID": False, "hostIPC": False,
    "hostUsers": False,
}  # fmt: skip
_TOP: Final = frozenset({"apiVersion", "kind", "status"})
_SECRETIVE: Final = re.compile(
    r"passw|secret|token|credential|private|api[-_]?key|access[-_]?key|dsn", re.IGNORECASE
)


def object_refusal(api_version: str, kind: str, name: str) -> str | None:
    """Return why an object is not touched, or None."""
    group = group_of(api_version)
    if (group, kind, name) == ("", "ConfigMap", SWITCH_CONFIGMAP):
        return f"ConfigMap {name} is Kubernaut's own"
    if group in _GROUPS or (group, kind) in _KINDS:
        return (
            f"{kind} ({api_version}) is not touched by a step: it gives rights, holds secrets or rules others"
        )
    return None


def patch_refusal(patch: Mapping[str, Any]) -> str | None:
    """Return why a merge patch is not sent, as far as the patch alone says, or None."""
    for field in sorted(_TOP & patch.keys()):
        return f"{field} is not patched by a step"
    meta = patch.get("metadata", {})
    if not isinstance(meta, Mapping):
        return "metadata has to be a map"
    for field in sorted(meta.keys() - {"labels", "annotations"}):
        return f"metadata.{field} is not patched by a step; only labels and annotations are"
    for field in ("labels", "annotations"):
        inner = meta.get(field, {})
        if not isinstance(inner, Mapping):
            return f"metadata.{field} has to be a map; name the keys to remove and set them to null"
        for key in sorted(inner):
            prefix = key.partition("/")[0]
            if "/" in key and (prefix == GROUP or prefix.endswith(f".{GROUP}")):
                return f"metadata.{field}[{key}] is Kubernaut's own"
    return None


def change_refusal(seen: Mapping[str, Any], desired: Mapping[str, Any]) -> str | None:
    """Return why the change from one object to the other is not made, or None.

    Lists are replaced as a whole by a merge patch, so what counts is whether anything escalating is there that was
    not there before, or is gone that restrained, not whether the patch mentions it.
    """
    before, after = Counter(_escalating(seen)), Counter(_escalating(desired))
    for field, value in sorted((before - after) + (after - before)):
        return f"{field}: {value} would change; fields that give a pod more rights are not patched by a step"
    return None


def gain_refusal(seen: Mapping[str, Any], desired: Mapping[str, Any]) -> str | None:
    """Return what a pod would be given by the change that it has not now, or None."""
    for field, value in sorted(Counter(_escalating(desired)) - Counter(_escalating(seen))):
        return f"{field}: {value} would come back, and give its pods more rights than they have"
    return None


def create_refusal(manifest: Mapping[str, Any]) -> str | None:
    """Return why an object is not created, or None; what restrains a pod may be in it from the start."""
    for field, value in sorted(set(_escalating(manifest))):
        if not _restrains(field, json.loads(value)):
            return f"{field}: {value}: fields that give a pod more rights are not set by a step"
    return None


def _restrains(field: str, value: Any) -> bool:
    match field:
        case "capabilities":
            return isinstance(value, Mapping) and value.keys() <= {"drop"}
        case "seccompProfile":
            return bool(value == {"type": "RuntimeDefault"})
        case "runAsUser" | "runAsGroup":
            return isinstance(value, int) and value > 0
        case _:
            return field in _RESTRAINING and value is _RESTRAINING[field]


def expect_refusal(seen: Mapping[str, Any], expect: Mapping[str, Any]) -> str | None:
    """Return which field has not the value that is expected, or None; a value that may be secret is not told."""
    for text, wanted in expect.items():
        path = fields.parse(text)
        now = fields.get(seen, path)
        if fields.same(now, wanted):
            continue
        if secretive_path(path) or secretive_value([now, wanted]):
            return f"{text} is not as expected"
        return f"{text} is {fence.short(now)}, but {fence.short(wanted)} is expected"
    return None


def _escalating(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in _ESCALATING or _refers_to_secret(key, value):
                yield key, json.dumps(value, sort_keys=True)
            else:
                yield from _escalating(value)
    elif isinstance(node, list):
        for value in node:
            yield from _escalating(value)


def _refers_to_secret(key: str, value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return key.endswith(_REFERENCE) or (key == _SECRET_SOURCE and "secretName" not in value)


def secretive(seen: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Whether a field that differs, or anything in its former or new value, is or may be a secret."""
    return any(
        secretive_path(change.path) or secretive_value(change.before) or secretive_value(change.after)
        for change in fields.diff(seen, desired)
    )


def secretive_path(path: fields.Path) -> bool:
    """Whether the value of a field is or may be a secret."""
    return _hides(segment if isinstance(segment, str) else segment.value for segment in path)


def secretive_value(value: Any) -> bool:
    """Whether anything in a value is or may be a secret: by a key, or by what a text such as an argument says."""
    return _hides(_keys(value)) or any(map(redacting.tells_secret, _texts(value)))


def secretive_text(text: str) -> bool:
    """Whether a text, such as a file of settings, speaks of something secret."""
    return bool(_SECRETIVE.search(text))


def _hides(keys: Iterable[str]) -> bool:
    return any(key in ("env", "stringData") or _SECRETIVE.search(key) for key in keys)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        # An option and its value may be two arguments.
        yield " ".join(value for value in node if isinstance(value, str))
        for value in node:
            yield from _texts(value)


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key
            yield from _keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from _keys(value)
