"""The declaration of an object in one form: what people wrote and the API server filled in; nothing that moves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from kubernaut.actions import guards
from kubernaut.api.names import GROUP
from kubernaut.core import fields


class RememberedKind(StrEnum):
    """Kinds that can be remembered; Secrets are not, whatever their labels say."""

    CONFIG_MAP = "ConfigMap"
    DAEMON_SET = "DaemonSet"
    DEPLOYMENT = "Deployment"
    HORIZONTAL_POD_AUTOSCALER = "HorizontalPodAutoscaler"
    INGRESS = "Ingress"
    NETWORK_POLICY = "NetworkPolicy"
    SERVICE = "Service"
    STATEFUL_SET = "StatefulSet"


#: the kinds by name, and their API versions
KINDS: Final[Mapping[str, str]] = {
    RememberedKind.CONFIG_MAP.value: "v1",
    RememberedKind.DAEMON_SET.value: "apps/v1",
    RememberedKind.DEPLOYMENT.value: "apps/v1",
    RememberedKind.HORIZONTAL_POD_AUTOSCALER.value: "autoscaling/v2",
    RememberedKind.INGRESS.value: "networking.k8s.io/v1",
    RememberedKind.NETWORK_POLICY.value: "networking.k8s.io/v1",
    RememberedKind.SERVICE.value: "v1",
    RememberedKind.STATEFUL_SET.value: "apps/v1",
}
#: stands in place of a value that is or may be a secret, and so is not remembered
HIDDEN: Final = {f"{GROUP}/not-remembered": "may hold a secret"}
#: bytes of a declaration as JSON; a larger one is not remembered
MAX_DECLARATION: Final = 512 * 1024
_PARTS: Final = ("spec", "data", "binaryData", "immutable")
# Written by controllers and tools for themselves: they say nothing of how the object is to be.
_NOISE: Final = re.compile(
    r"^(deployment\.kubernetes\.io|kubectl\.kubernetes\.io|control-plane\.alpha\.kubernetes\.io"
    r"|autoscaling\.alpha\.kubernetes\.io|endpoints\.kubernetes\.io|argocd\.argoproj\.io"
    r"|[a-z.]+\.toolkit\.fluxcd\.io|meta\.helm\.sh)/|^deprecated\.daemonset\.template\.generation$"
)
_HEADER: Final = re.compile(r"authori[sz]ation|cookie", re.IGNORECASE)
_LOGIN_IN_URL: Final = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_WORDS: Final = ("args", "command")


@dataclass(frozen=True, slots=True)
class Packed:
    """A declaration as it is stored.

    Attributes:
        digest: the same for declarations that are the same, of whatever object.
        content: compressed (zlib).
        size: bytes before that.
    """

    digest: str
    content: bytes
    size: int


def declared(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is remembered of an object as read, by field; values that may be secrets are ``HIDDEN``."""
    meta = manifest["metadata"]
    kept = {part: manifest[part] for part in _PARTS if manifest.get(part) is not None}
    named = {part: _own(meta.get(part)) for part in ("labels", "annotations")}
    bare: dict[str, Any] = fields.without_nulls({"metadata": named, **kept})
    template = (bare.get("spec") or {}).get("template")
    if isinstance(template, Mapping) and "metadata" in template:
        inner = template["metadata"]
        quiet = {**inner, "annotations": _own(inner.get("annotations"))}
        if not quiet["annotations"]:
            del quiet["annotations"]
        bare["spec"] = {**bare["spec"], "template": {**template, "metadata": quiet}}
    if manifest.get("kind") == "ConfigMap":
        return _without_secret_files(bare)
    shown = {key: _hide(value) for key, value in bare.items() if key != "metadata"}
    return {"metadata": _without_secret_notes(bare["metadata"]), **shown}


def digest_of(declaration: Mapping[str, Any]) -> str:
    """Return 64 hexadecimal digits that are the same for the same declaration."""
    return hashlib.sha256(_text(declaration)).hexdigest()


def pack(declaration: Mapping[str, Any]) -> Packed | None:
    """Return a declaration as it is stored; None where it is too large for that."""
    text = _text(declaration)
    if len(text) > MAX_DECLARATION:
        return None
    return Packed(hashlib.sha256(text).hexdigest(), zlib.compress(text), len(text))


def unpack(content: bytes) -> dict[str, Any]:
    """Return a declaration that was packed."""
    found: dict[str, Any] = json.loads(zlib.decompress(content))
    return found


def hides(value: Any) -> bool:
    """Whether anything in a remembered value was hidden: then it can't be put back."""
    if value == HIDDEN:
        return True
    if isinstance(value, Mapping):
        return any(map(hides, value.values()))
    return isinstance(value, list) and any(map(hides, value))


def may_hold_secret(value: Any) -> bool:
    """Whether anything in a value of a spec, or in a text, is of what would be hidden."""
    return _secret("", value) if isinstance(value, str) else hides(_hide(value))


def _text(declaration: Mapping[str, Any]) -> bytes:
    return json.dumps(declaration, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _own(notes: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels or annotations without ours and without those that others write for themselves."""
    return {key: text for key, text in (notes or {}).items() if not _NOISE.search(key) and not _ours(key)}


def _ours(key: str) -> bool:
    prefix, slash, _ = key.partition("/")
    return bool(slash) and (prefix == GROUP or prefix.endswith(f".{GROUP}"))


def _without_secret_notes(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        part: {key: HIDDEN if _secret(key, text) else text for key, text in notes.items()}
        for part, notes in meta.items()
    }


def _without_secret_files(bare: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**bare, "metadata": _without_secret_notes(bare["metadata"])}
    for part in ("data", "binaryData"):
        if part in bare:
            shown[part] = {
                key: HIDDEN if _secret(key, text if part == "data" else _decoded(text)) else text
                for key, text in bare[part].items()
            }
    return shown


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="ignore")
    except ValueError:
        return text


def _secret(name: str, text: str) -> bool:
    return guards.secretive_text(name) or guards.secretive_text(text) or bool(_LOGIN_IN_URL.search(text))


def _hide(node: Any) -> Any:
    """Return a part of a spec with literal values that may be secrets hidden; references to Secrets stay."""
    if isinstance(node, Mapping):
        shown = {key: _hide(value) for key, value in node.items()}
        for word in _WORDS:
            if isinstance(node.get(word), list):
                shown[word] = [HIDDEN if _secret("", str(one)) else one for one in node[word]]
        name, value = node.get("name"), node.get("value")
        # An environment variable, or a header that a probe sends.
        if (
            isinstance(name, str)
            and isinstance(value, str)
            and (_secret(name, value) or _HEADER.search(name))
        ):
            shown["value"] = HIDDEN
        return shown
    return [_hide(one) for one in node] if isinstance(node, list) else node
