"""Markers: the signed record on an object of what a run's steps changed there (docs/architecture.md).

The marker rides in the same patch as the change, so an effect and its record can't come apart. The
signature covers the object's UID, so a marker can neither be forged nor carried to another object; controllers
that copy annotations (a Deployment's to its ReplicaSets) copy markers too, and such a copy counts as none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from kubernaut.api.names import marker_annotation
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError

MAX_BEFORE_IMAGE: Final = 2048
# All annotations of an object share 256 KiB.
MAX_MARKER: Final = 64 * 1024


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


class Unchecked(Signer):
    """Takes every signature for good: for who only looks, and has no key."""

    __slots__ = ()

    def holds(self, text: str, signature: str) -> bool:
        """Return true."""
        return True


@dataclass(frozen=True, slots=True)
class KeptImages:
    """Where the values before and after are, that are too large or too secret for an annotation.

    Attributes:
        secret: name of a Secret in the object's namespace.
        digest: signature of what it holds.
        paths: the changed fields.
    """

    secret: str
    digest: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepMark:
    """One step's record on an object: JSON values before and after, by field path, or where they are kept."""

    attempt: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    undone: bool = False
    kept: KeptImages | None = None

    @property
    def image_bytes(self) -> int:
        """How much the larger of both images takes, as JSON."""
        return max(len(json.dumps(dict(image)).encode()) for image in (self.before, self.after))


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
            StepError: OutputTooLarge, where a step's images exceed 2 KiB each, or all steps' marks 64 KiB.
        """
        body = _canonical(self.steps)
        for name, mark in self.steps.items():
            if mark.image_bytes > MAX_BEFORE_IMAGE:
                raise StepError(
                    f"the fields that step {name} changes take {mark.image_bytes} bytes; only {MAX_BEFORE_IMAGE} can "
                    f"be remembered on the object for putting them back: change fewer or smaller fields in one step",
                    reason=Reason.OUTPUT_TOO_LARGE,
                )
        if len(body.encode()) > MAX_MARKER:
            raise StepError(
                f"the run's {len(self.steps)} steps on one object need a record of {len(body.encode())} bytes; at "
                f"most {MAX_MARKER} are allowed: split the Workflow",
                reason=Reason.OUTPUT_TOO_LARGE,
            )
        signature = signer.sign(f"{self.run_uid}\n{self.object_uid}\n{body}")
        value = {"object": self.object_uid, "sig": signature, "steps": body}
        return {marker_annotation(self.run_uid): json.dumps(value)}


def read_marker(manifest: Mapping[str, Any], run_uid: str, signer: Signer) -> Marker:
    """Return this run's marker on an object as read; an empty one where there is none, or another object's copy.

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
        body, signature, owner = str(outer["steps"]), str(outer["sig"]), str(outer["object"])
        if not signer.holds(f"{run_uid}\n{owner}\n{body}", signature):
            raise ValueError("signature")
        if owner != object_uid:
            return Marker(run_uid, object_uid, {})
        steps = {name: _mark(**mark) for name, mark in json.loads(body).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StepError(
            f"{manifest.get('kind')} {meta.get('namespace', '')}/{meta.get('name')} carries a marker "
            f"{marker_annotation(run_uid)} that this operator did not sign; find out who wrote it and remove it",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return Marker(run_uid, object_uid, steps)


def _mark(kept: Mapping[str, Any] | None = None, **fields: Any) -> StepMark:
    if kept is None:
        return StepMark(**fields)
    return StepMark(**fields, kept=KeptImages(kept["secret"], kept["digest"], tuple(kept["paths"])))


def _canonical(steps: Mapping[str, StepMark]) -> str:
    plain = {
        name: {
            "attempt": mark.attempt,
            "before": dict(mark.before),
            "after": dict(mark.after),
            "outputs": dict(mark.outputs),
            "undone": mark.undone,
            **({"kept": asdict(mark.kept)} if mark.kept is not None else {}),
        }
        for name, mark in steps.items()
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))
