"""How the sync of an owner is paused, and let go on: which of its fields change, and who holds it paused until when.

What is needed to undo it is on the owner's object itself, signed, in the same patch. Several runs may hold one owner
paused: the first keeps what its fields were like, the last puts that back. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from kubernaut.api.names import PAUSED_ANNOTATION
from kubernaut.core import fields
from kubernaut.core.fields import Path
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Manifest

#: by kind, the field by which a sync is paused, and what it is then. Of Argo CD the whole policy is taken away, which
#: all versions know: older ones do not know ``enabled``, and ``skip-reconcile`` also stops the status.
FIELDS: Final[Mapping[str, tuple[Path, Any]]] = {
    "Application": (("spec", "syncPolicy", "automated"), None),
    "Kustomization": (("spec", "suspend"), True),
    "HelmRelease": (("spec", "suspend"), True),
}


@dataclass(frozen=True, slots=True)
class Pause:
    """What is on an object whose sync we have paused.

    Attributes:
        before: the field as it was.
        holders: by the UID of each run that holds it paused, until when.
    """

    before: Any
    holders: Mapping[str, datetime] = field(default_factory=dict)


def read(manifest: Mapping[str, Any], signer: Signer) -> Pause | None:
    """Return our pause of an object; None where there is none, or one that we did not sign for this object."""
    meta = manifest["metadata"]
    text = (meta.get("annotations") or {}).get(PAUSED_ANNOTATION)
    if text is None:
        return None
    try:
        outer = json.loads(text)
        body = str(outer["pause"])
        if not signer.holds(f"pause\n{meta['uid']}\n{body}", str(outer["sig"])):
            return None
        found = json.loads(body)
        return Pause(
            found["before"], {run: datetime.fromisoformat(at) for run, at in found["holders"].items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_paused(manifest: Mapping[str, Any]) -> bool:
    """Whether an owner's field is as a pause leaves it."""
    path, paused = FIELDS[manifest["kind"]]
    return fields.same(fields.get(manifest, path), paused)


def paused(manifest: Manifest, run_uid: str, until: datetime, signer: Signer) -> Manifest | None:
    """Return an owner's object with its sync paused for a run; None where somebody else has paused it.

    A run that holds it already gets no other time.
    """
    path, value = FIELDS[manifest["kind"]]
    found = read(manifest, signer)
    if is_paused(manifest) and found is None:
        return None
    if found is None or not is_paused(manifest):
        # Where a person has let it go on meanwhile, it is paused anew, from what it is now.
        found = Pause(fields.get(manifest, path), found.holders if found is not None else {})
    found = replace(found, holders={**found.holders, run_uid: found.holders.get(run_uid, until)})
    return _written(fields.put(manifest, path, value), found, signer)


def resumed(manifest: Manifest, run_uid: str, signer: Signer) -> Manifest | None:
    """Return an owner's object without a run's hold; None where the run does not hold it.

    The field is put back with the last hold, unless it is no longer as the pause left it: then a person has spoken.
    """
    found = read(manifest, signer)
    if found is None or run_uid not in found.holders:
        return None
    left = {run: at for run, at in found.holders.items() if run != run_uid}
    if left:
        return _written(manifest, replace(found, holders=left), signer)
    path, _ = FIELDS[manifest["kind"]]
    desired = fields.put(manifest, path, found.before) if is_paused(manifest) else manifest
    return fields.put(desired, ("metadata", "annotations", PAUSED_ANNOTATION), None)  # type: ignore[no-any-return]


def _written(manifest: Manifest, pause: Pause, signer: Signer) -> Manifest:
    holders = {run: at.astimezone(UTC).isoformat() for run, at in sorted(pause.holders.items())}
    body = json.dumps({"before": pause.before, "holders": holders}, sort_keys=True)
    text = json.dumps({"pause": body, "sig": signer.sign(f"pause\n{manifest['metadata']['uid']}\n{body}")})
    done: Manifest = fields.put(manifest, ("metadata", "annotations", PAUSED_ANNOTATION), text)
    return done
