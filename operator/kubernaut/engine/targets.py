"""Watching what runs wait for: one watch per account and object, none while nothing waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from kubernaut.api.reach import namespace_of
from kubernaut.core.errors import ClusterError, NoSuchKind, NotFound
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.run import Watched
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import Accounts

log = logging.getLogger(__name__)


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


class Lookout:
    """Reads and watches, as the Workflow's account, the objects that runs wait for."""

    def __init__(self, accounts: Accounts, watches: ObjectWatches, wake: Callable[[RunKey], None]) -> None:
        self._accounts = accounts
        self._watches = watches
        self._wake = wake

    async def look(self, live: LiveRun, key: Watched) -> bool:
        """Read an object; True where it was seen (or is gone), or it is new why it can't be."""
        namespace = live.key.namespace
        cluster = self._accounts.as_account(namespace, live.service_account)
        try:
            manifest = await cluster.get(_ref(live, key))
        except NotFound as error:
            view = live.views.of(key)
            view.look_at(None)
            if isinstance(error, NoSuchKind):
                view.unread = str(error)
            return True
        except ClusterError as error:
            log.warning(
                "an object that a run waits for can't be read",
                extra={"run": str(live.key), "object": f"{key.kind} {key.name}", "error": str(error)},
            )
            view = live.views.of(key)
            told, view.unread = view.unread, str(error)
            return not told
        # As a watch brings it, which would hold these in memory while the run waits.
        manifest["metadata"].pop("managedFields", None)
        live.views.of(key).look_at(manifest)
        return True

    def ensure(self, live: LiveRun, key: Watched) -> None:
        """Watch an object, as the Workflow's account, until ``live.views`` forgets it."""
        view = live.views.of(key)
        if view.unwatch is not None:
            return

        def changed(manifest: Manifest | None) -> None:
            view.watched(manifest)
            live.waiting.set()
            self._wake(live.key)

        view.unwatch = self._watches.subscribe(
            live.key.namespace, live.service_account, _ref(live, key), changed
        )


def _ref(live: LiveRun, key: Watched) -> ObjectRef:
    namespace = namespace_of(key.api_version, key.kind, live.key.namespace)
    return ObjectRef(key.api_version, key.kind, namespace, key.name)
