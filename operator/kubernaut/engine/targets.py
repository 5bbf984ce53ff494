"""Watching targets of runs that wait: one watch per account and object, none while nothing waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun


class ObjectWatches(Protocol):
    """Shared watches of single objects."""

    def subscribe(
        self,
        namespace: str,
        service_account: str,
        ref: ObjectRef,
        callback: Callable[[Manifest | None], None],
    ) -> Callable[[], None]:
        """Call back with the object after each change (None: it is gone); return what ends it."""
        ...


class TargetWatches:
    """Watches the targets of runs that wait for them."""

    def __init__(self, watches: ObjectWatches, wake: Callable[[RunKey], None]) -> None:
        self._watches = watches
        self._wake = wake

    def ensure(self, live: LiveRun) -> None:
        """Watch the run's target, as the Workflow's account, until ``live.forget_watch``."""
        if live.unwatch is not None:
            return
        claim, target = live.status.workflow, live.status.target
        assert claim is not None
        assert target is not None
        ref = ObjectRef(target.api_version, target.kind, live.key.namespace, target.name)

        def changed(manifest: Manifest | None) -> None:
            live.watched(manifest)
            live.waiting.set()
            self._wake(live.key)

        live.unwatch = self._watches.subscribe(live.key.namespace, claim.service_account_name, ref, changed)
