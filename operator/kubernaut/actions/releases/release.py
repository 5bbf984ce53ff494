"""Releases as Helm 3 keeps them: one Secret a revision, with the release as gzipped JSON. Pure.

The form is that of Helm's Secrets driver (pkg/storage/driver): the JSON is gzipped and written in base64, which the
Secret holds in base64 once more; labels say name, status and version, by which Helm finds it.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from kubernaut import yamltext
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef

SECRET: Final = ("v1", "Secret")
TYPE: Final = "helm.sh/release.v1"
DEPLOYED, SUPERSEDED, FAILED = "deployed", "superseded", "failed"
PENDING: Final = "pending-rollback"
#: of a release unpacked
MAX_BYTES: Final = 16 * 1024 * 1024
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release: its Secret as read, and what it holds."""

    secret: Manifest
    release: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.release.get("version") or 0)

    @property
    def status(self) -> str:
        return str((self.release.get("info") or {}).get("status") or "")

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef.of(self.secret)


def record_name(release: str, number: int) -> str:
    """Return the name of a revision's Secret."""
    return f"sh.helm.release.v1.{release}.v{number}"


def read(secret: Manifest) -> Revision:
    """Return the revision that a Secret holds.

    Raises:
        StepError: PreconditionFailed, where it holds none.
    """
    ref = ObjectRef.of(secret)
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"], validate=True))
        unpacker = zlib.decompressobj(_GZIP)
        text = unpacker.decompress(packed, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError("it is too large")
        release = json.loads(text)
        found = Revision(secret, release)
        if record_name(str(release["name"]), found.number) != ref.name:
            raise ValueError("it is another's")
    except (KeyError, TypeError, ValueError, zlib.error):
        raise StepError(
            f"{ref} does not hold a revision as Helm 3 writes it; look at it with `helm history`",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return found


def written(release: Mapping[str, Any]) -> str:
    """Return a release as its Secret holds it under ``data.release``."""
    packed = gzip.compress(json.dumps(release, separators=(",", ":")).encode(), mtime=0)
    return base64.b64encode(base64.b64encode(packed)).decode()


def status_patch(revision: Revision, status: str, description: str | None, now: datetime) -> Manifest:
    """Return the patch that gives a revision another status, as Helm updates it."""
    info = {**(revision.release.get("info") or {}), "status": status}
    if description is not None:
        info["description"] = description
    labels = {"status": status, "modifiedAt": _seconds(now)}
    return {
        "metadata": {"labels": labels},
        "data": {"release": written({**revision.release, "info": info})},
    }


def rolled_back(current: Revision, target: Revision, now: datetime) -> Manifest:
    """Return the Secret of the revision that a rollback makes, its outcome pending (action.Rollback of Helm)."""
    info = current.release.get("info") or {}
    number = current.number + 1
    release = {
        **target.release,
        "version": number,
        "info": {
            "first_deployed": info.get("first_deployed", ""),
            "last_deployed": now.astimezone(UTC).isoformat(),
            "deleted": "",
            "description": f"Rollback to {target.number}",
            "status": PENDING,
            "notes": (target.release.get("info") or {}).get("notes", ""),
        },
    }
    meta = current.secret["metadata"]
    given = target.secret["metadata"].get("labels") or {}
    own = {key: text for key, text in given.items() if key not in ("createdAt", "modifiedAt")}
    labels = {**own, "status": PENDING, "version": str(number), "createdAt": _seconds(now)}
    name = record_name(str(release["name"]), number)
    return {
        "apiVersion": SECRET[0],
        "kind": SECRET[1],
        "metadata": {"name": name, "namespace": meta["namespace"], "labels": labels},
        "type": TYPE,
        "data": {"release": written(release)},
    }


def objects(revision: Revision, namespace: str) -> dict[tuple[str, str, str, str], Manifest]:
    """Return the objects of a revision's manifest by API version, kind, namespace and name.

    Raises:
        StepError: PreconditionFailed, where the manifest can't be read.
    """
    found: dict[tuple[str, str, str, str], Manifest] = {}
    try:
        for document in yamltext.load_all(str(revision.release.get("manifest") or "")):
            if document is None:
                continue
            # Only what JSON can say can have come from Helm's templates.
            one = json.loads(json.dumps(document))
            meta = one["metadata"]
            where = str(meta.get("namespace") or namespace)
            found[str(one["apiVersion"]), str(one["kind"]), where, str(meta["name"])] = one
    except (KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        raise StepError(
            f"the manifest of revision {revision.number} can't be read; look at it with `helm get manifest`",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return found


def hooks(revision: Revision) -> Sequence[str]:
    """Return the names of the hooks that Helm would run at a rollback to a revision."""
    found = revision.release.get("hooks") or ()
    events = {"pre-rollback", "post-rollback"}
    return [str(one.get("name")) for one in found if events & set(one.get("events") or ())]


def _seconds(now: datetime) -> str:
    return str(int(now.timestamp()))
