"""What is never removed, whoever asks and whatever it blocks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from kubernaut.actions.fencing import removal
from kubernaut.actions.newcomers.suspects import Suspect
from kubernaut.api.names import PROTECTED, SYSTEM_NAMESPACE

SYSTEM_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE})


def refusal(suspect: Suspect, keep_labels: Mapping[str, str], oldest: datetime) -> str | None:
    """Return why a suspect is not removed, or None.

    Args:
        keep_labels: what has one of these labels is kept; an empty value stands for any.
        oldest: what came before this is kept.
    """
    meta = suspect.manifest["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    for notes in (labels, annotations):
        if notes.get(PROTECTED, "false") != "false":
            return f"it is protected ({PROTECTED})"
    for key, value in keep_labels.items():
        if key in labels and value in ("", labels[key]):
            return f"it has the label {key} of keepLabels"
    if suspect.appeared < oldest:
        return f"it came at {suspect.appeared:%Y-%m-%dT%H:%M:%SZ}, which is longer ago than maxAge"
    return removal.irreversible(suspect.manifest) if suspect.taint is None else None
