"""Markers: the signed record on an object of what a run's steps changed there (DESIGN section 5).

The marker rides in the same patch as the change, so an effect and its record can't come apart. The
signature covers the object's UID, so a marker can neither be forged nor carried to another object.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernaut.api.names import marker_annotation
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError

MAX_BEFORE_IMAGE = 2048


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with HMAC-SHA256 (RFC 2104)."""

    key: bytes

    def sign(self, text: str) -> str:
        """Return the signature as 64 hexadecimal digits."""
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def holds(self, text: str, signature: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.sign(text), signature)


@dataclass(frozen=True, slots=True)
class StepMark:
    """One step's record on an object: JSON values before and after, by field path."""

    attempt: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """All steps of one run on one object."""

    run_uid: str
    object_uid: str
    steps: Mapping[str, StepMark]

    def with_step(self, name: str, mark: StepMark) -> Marker:
        """Return a marker that also holds this step."""
        return Marker(self.run_uid, self.object_uid, {**self.steps, name: mark})

    def annotation(self, signer: Signer) -> dict[str, str]:
        """Return the annotation to patch in.

        Raises:
            StepError: OutputTooLarge, where the before-images exceed 2 KiB.
        """
        body = _canonical(self.steps)
        images = json.dumps([[dict(m.before), dict(m.after)] for m in self.steps.values()])
        if len(images.encode()) > 2 * MAX_BEFORE_IMAGE:
            raise StepError(
                f"the before-image of object {self.object_uid} is larger than {MAX_BEFORE_IMAGE} bytes and could "
                "not be put back; change fewer fields in one step",
                reason=Reason.OUTPUT_TOO_LARGE,
            )
        signature = signer.sign(f"{self.run_uid}\n{self.object_uid}\n{body}")
        return {marker_annotation(self.run_uid): json.dumps({"sig": signature, "steps": body})}


def read_marker(manifest: Mapping[str, Any], run_uid: str, signer: Signer) -> Marker:
    """Return this run's marker on an object as read; an empty one where there is none.

    Raises:
        StepError: PreconditionFailed, where a marker is there that we did not sign.
    """
    meta = manifest["metadata"]
    object_uid = meta.get("uid", "")
    text = (meta.get("annotations") or {}).get(marker_annotation(run_uid))
    if text is None:
        return Marker(run_uid, object_uid, {})
    try:
        outer = json.loads(text)
        body, signature = str(outer["steps"]), str(outer["sig"])
        if not signer.holds(f"{run_uid}\n{object_uid}\n{body}", signature):
            raise ValueError("signature")
        steps = {name: StepMark(**mark) for name, mark in json.loads(body).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StepError(
            f"{manifest.get('kind')} {meta.get('namespace', '')}/{meta.get('name')} carries a marker "
            f"{marker_annotation(run_uid)} that this operator did not sign; find out who wrote it and remove it",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return Marker(run_uid, object_uid, steps)


def _canonical(steps: Mapping[str, StepMark]) -> str:
    plain = {
        name: {
            "attempt": mark.attempt,
            "before": dict(mark.before),
            "after": dict(mark.after),
            "outputs": dict(mark.outputs),
            "undone": mark.undone,
        }
        for name, mark in steps.items()
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))
