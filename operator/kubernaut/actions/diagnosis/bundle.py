"""The whole of what there is to see of a target's trouble: objects, events, logs, and who changed what.

What is too large for a run's status. All of it is read with the rights that the digest needs, too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.actions.diagnosis import redaction
from kubernaut.actions.diagnosis.symptoms import Sample
from kubernaut.core import fields, managed_fields, redacting
from kubernaut.core.errors import ClusterError, Forbidden
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

MAX_BYTES: Final = 4 * 2**20
VERSION: Final = 1
_MAX_PODS: Final = 20
_MAX_EVENTS: Final = 500
_MAX_FIELDS: Final = 200
_LOG_BYTES: Final = 256 * 1024
_LOG_LINES: Final = (5000, 1000, 200, 40)
_LOGGED_PODS: Final = 5
_ROOM_FOR_LOGS: Final = 3 * 2**20
_NO_LOG_YET: Final = frozenset({"ContainerCreating", "PodInitializing", "ErrImagePull", "ImagePullBackOff"})


@dataclass
class _Logs:
    """Logs as they come in, as long as there is room.

    Attributes:
        omitted: what was left out, in words.
    """

    found: list[dict[str, Any]] = field(default_factory=list)
    omitted: list[str] = field(default_factory=list)
    taken: int = 0


async def collect(cluster: Cluster, sample: Sample, *, logs: bool) -> bytes:
    """Return a bundle as JSON, at most 4 MiB, with values that are or may be secret hidden.

    Args:
        sample: what was read already.
        logs: whether to read whole logs as well: of each container of the five worst pods, and of its run before.

    Raises:
        Forbidden: the account may not read logs.
    """
    told = _Logs()
    if logs:
        known = redaction.known_values([sample.target, *sample.pods])
        for pod in sample.pods[:_LOGGED_PODS]:
            await _logs_of(cluster, pod, known, told)
        if len(sample.pods) > _LOGGED_PODS:
            told.omitted.append(f"logs of {len(sample.pods) - _LOGGED_PODS} more pods")
    # Some megabytes of text: the loop must not stand still for that.
    return await asyncio.to_thread(_content, sample, told)


def _content(sample: Sample, told: _Logs) -> bytes:
    content: dict[str, Any] = {
        "version": VERSION,
        "takenAt": sample.now.isoformat(),
        "target": redaction.manifest(sample.target),
        "owners": _owners(sample),
        "pods": [redaction.manifest(pod) for pod in sample.pods[:_MAX_PODS]],
        "events": [redaction.manifest(event) for event in sample.events[:_MAX_EVENTS]],
        "changes": [change for one in (sample.target, *sample.pods[:1]) for change in _changes(one)],
        "logs": told.found,
        "omitted": told.omitted,
    }
    for key, most in (("pods", len(sample.pods)), ("events", len(sample.events))):
        if len(content[key]) < most:
            told.omitted.append(f"{most - len(content[key])} more {key}")
    return _bounded(content)


def _bounded(content: dict[str, Any]) -> bytes:
    """Return the content as JSON; what makes it too large goes, the least telling first, and is named."""
    text = json.dumps(content).encode()
    for key in ("events", "pods", "changes", "logs", "target"):
        if len(text) <= MAX_BYTES:
            break
        content["omitted"].append(f"{key}: too large")
        content[key] = {} if key == "target" else []
        text = json.dumps(content).encode()
    return text


async def _logs_of(cluster: Cluster, pod: Manifest, known: set[str], told: _Logs) -> None:
    ref = ObjectRef.of(pod)
    for one in pods.containers(pod):
        for previous in (False, True):
            if previous and not one.restarts:
                continue
            if not previous and not one.restarts and one.waiting in _NO_LOG_YET:
                continue
            which = f"{ref.name}/{one.name}{' (previous)' if previous else ''}"
            if told.taken >= _ROOM_FOR_LOGS:
                told.omitted.append(f"log of {which}: no room")
                continue
            try:
                text = await _log(cluster, ref, one.name, previous)
            except Forbidden:
                raise
            except ClusterError as error:
                told.omitted.append(f"log of {which}: {error}"[:300])
                continue
            text = await asyncio.to_thread(redacting.redacted, text, known)
            told.taken += len(text.encode())
            told.found.append({"pod": ref.name, "container": one.name, "previous": previous, "text": text})


async def _log(cluster: Cluster, ref: ObjectRef, container: str, previous: bool) -> str:
    """Return the end of a log. A limit of bytes cuts off the end itself, so fewer lines are asked for then."""
    text = ""
    for lines in _LOG_LINES:
        text = await cluster.logs(
            ref, container=container, previous=previous, tail_lines=lines, limit_bytes=_LOG_BYTES
        )
        if len(text.encode()) < _LOG_BYTES:
            break
    return text


def _owners(sample: Sample) -> list[dict[str, str]]:
    """Return what owns what, from the worst pod upwards, as far as what was read shows it."""
    return [
        {"of": str(ObjectRef.of(one)), "kind": owner["kind"], "name": owner["name"], "uid": owner["uid"]}
        for one in (*sample.pods[:1], sample.target)
        for owner in one["metadata"].get("ownerReferences") or ()
    ]


def _changes(seen: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ref = str(ObjectRef.of(seen))
    for one in managed_fields.managers(seen):
        paths: Sequence[str] = [fields.render(path) for path in one.fields[:_MAX_FIELDS]]
        yield {
            "of": ref,
            "by": one.name,
            "operation": one.operation,
            "at": one.time,
            "subresource": one.subresource,
            "fields": paths,
            "more": max(len(one.fields) - _MAX_FIELDS, 0),
        }
