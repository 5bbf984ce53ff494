"""Whether watches bring what lists find: a version that is listed, and that a watch never brings, was missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kubernaut.core.ports import Manifest
from kubernaut.core.versions import newer
from kubernaut.metrics import WATCH_MISSED

RUNS: Final = "workflowexecutions"
WORKFLOWS: Final = "workflows"
#: seconds that a watch may be later than a list
PATIENCE: Final = 10.0
_MOST: Final = 10_000


class Listener(Protocol):
    """What takes note of what watches bring."""

    def on_run(self, event: str | None, manifest: Manifest) -> None: ...

    def on_workflow(self, event: str | None, manifest: Manifest) -> None: ...

    def on_replicaset(self, event: str | None, manifest: Manifest) -> None: ...


@dataclass(slots=True)
class _Kind:
    """What was listed of a kind and not heard of yet.

    Attributes:
        listed: version and time of each, by UID.
        still: those of them that the list under way has shown as well.
        deaf_since: since when nothing was heard, where something was missed since then; else None.
        looked_at: when a list last ended.
    """

    listed: dict[str, tuple[str, float]] = field(default_factory=dict)
    still: set[str] = field(default_factory=set)
    deaf_since: float | None = None
    looked_at: float = 0.0


class Hearing:
    """Compares lists and watches, for kinds of which both are had."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kinds = {RUNS: _Kind(), WORKFLOWS: _Kind()}
        for kind in self._kinds:
            WATCH_MISSED.labels(kind)

    def heard(self, kind: str, manifest: Manifest) -> None:
        """Take note of what a watch has brought."""
        one = self._kinds[kind]
        one.deaf_since = None
        uid = manifest["metadata"]["uid"]
        listed = one.listed.get(uid)
        if listed is not None and not newer(listed[0], _version(manifest)):
            del one.listed[uid]

    def listed(self, kind: str, manifest: Manifest, *, new: bool) -> None:
        """Take note of what a list has shown; ``new`` where nobody knew that yet."""
        one, uid = self._kinds[kind], manifest["metadata"]["uid"]
        if uid in one.listed:
            one.still.add(uid)
        elif new and len(one.listed) < _MOST:
            one.listed[uid] = _version(manifest), self._monotonic()
            one.still.add(uid)

    def looked(self, kind: str) -> None:
        """Take note that a list has ended: count what was listed long ago, is still there, and has not come since."""
        one, now = self._kinds[kind], self._monotonic()
        one.looked_at = now
        # What is gone since may have gone while it was listed: who has heard of that expects nothing more of it.
        one.listed = {uid: seen for uid, seen in one.listed.items() if uid in one.still}
        one.still.clear()
        missed = {uid: at for uid, (_, at) in one.listed.items() if now - at > PATIENCE}
        for uid, at in missed.items():
            del one.listed[uid]
            one.deaf_since = min(at, one.deaf_since if one.deaf_since is not None else at)
        WATCH_MISSED.labels(kind).inc(len(missed))

    def deaf(self, seconds: float) -> str | None:
        """Return the kind whose watch has brought nothing since it missed something, for so long; or None.

        Time counts from list to list: while the API server is away nothing is listed, and no watch is deaf for it.
        """
        for kind, one in self._kinds.items():
            if one.deaf_since is not None and one.looked_at - one.deaf_since > seconds:
                return kind
        return None


class Heard:
    """Passes on what watches bring, having noted it."""

    def __init__(self, listener: Listener, hearing: Hearing) -> None:
        self._listener = listener
        self._hearing = hearing

    def on_run(self, event: str | None, manifest: Manifest) -> None:
        """Pass on."""
        self._hearing.heard(RUNS, manifest)
        self._listener.on_run(event, manifest)

    def on_workflow(self, event: str | None, manifest: Manifest) -> None:
        """Pass on."""
        self._hearing.heard(WORKFLOWS, manifest)
        self._listener.on_workflow(event, manifest)

    def on_replicaset(self, event: str | None, manifest: Manifest) -> None:
        """Pass on."""
        self._listener.on_replicaset(event, manifest)


def _version(manifest: Manifest) -> str:
    version: Any = manifest["metadata"]["resourceVersion"]
    return str(version)
