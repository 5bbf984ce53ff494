"""What this replica knows: live runs of its shards, those of others, finished runs, Workflows."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from kubernaut.api.execution import RunPhase
from kubernaut.api.reasons import Reason
from kubernaut.core.ports import Manifest
from kubernaut.core.run import Hold
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.gauges import waits_for_person
from kubernaut.engine.homes import home_of
from kubernaut.engine.keys import RunKey, WorkflowKey
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ownership import Ownership, Shards
from kubernaut.engine.sharding import GLOBAL, Shard
from kubernaut.engine.sweep import Snapshot
from kubernaut.engine.views import newer
from kubernaut.metrics import APPROVALS_WAITING, RUNS_LIVE, RUNS_UNREADABLE

log = logging.getLogger(__name__)
# Of so many runs that are gone it is remembered that they are, at 0.2 KiB each; any other is found to be gone by the
# next list of live runs.
_REMEMBERED = 2_000
_LAPSED_SECONDS = 2.0
_NOT_OURS = Hold(Reason.LEASE_LOST, "Another replica works on the run's target.")


@dataclass(slots=True)
class Other:
    """A live run that another replica drives.

    Attributes:
        version: the resourceVersion last seen; empty where the run must be looked at again.
        manifest: the run as last seen; None where it was ours before, and may have been moved on since, or where it
            can't be read.
    """

    uid: str
    version: str
    shard: Shard
    snapshot: str | None
    manifest: Manifest | None


class Known:
    """Runs and Workflows as last seen. A run is in one place only: ``live``, ``others`` or ``finished``.

    Attributes:
        active: the shards whose live runs are loaded and whose locks are taken.
    """

    def __init__(self, shards: Ownership, target_key: Callable[[Manifest, Manifest], str | None]) -> None:
        self._shards = shards
        self._target_key = target_key
        self.live: dict[RunKey, LiveRun] = {}
        self.others: dict[RunKey, Other] = {}
        self.finished: dict[RunKey, FinishedRun] = {}
        self.workflows: dict[WorkflowKey, Manifest] = {}
        self.active: set[Shard] = set()
        self._uids: dict[str, RunKey] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._asked: dict[str, int] = {}
        self._odd: set[str] = set()
        self._lists_begun = self._lists_done = 0
        RUNS_UNREADABLE.set_function(lambda: len(self._odd))
        APPROVALS_WAITING.set_function(lambda: sum(map(waits_for_person, self.live.values())))

    # Whose a run is

    def shard_of(self, manifest: Manifest) -> Shard:
        """Return the shard of a run as read."""
        return self._shards.shard_of(home_of(manifest, self._rendered))

    def driven(self, shard: Shard) -> bool:
        """Whether work may be begun for a shard now."""
        return shard in self.active and self._shards.holds(shard)

    def looked_after(self, finished: FinishedRun) -> bool:
        """Whether a finished run is this replica's to look after."""
        return self.driven(self._shards.shard_of(finished.home))

    def lapsed(self, shard: Shard) -> float | None:
        """Return after how many seconds to look again at what waits for a shard of ours; None where it is another's.

        A lease that was not renewed in time may be renewed still, and nobody tells of that: nothing was lost.
        """
        return _LAPSED_SECONDS if shard in self.active else None

    def lease(self, live: LiveRun) -> Hold | None:
        """Return why nothing may be sent for a run now, or None; asked before each request."""
        return None if self._shards.may_send(live.shard) else _NOT_OURS

    def _rendered(self, manifest: Manifest) -> str | None:
        name = manifest["spec"]["workflowRef"]["name"]
        workflow = self.workflows.get(WorkflowKey(manifest["metadata"]["namespace"], name))
        return None if workflow is None else self._target_key(workflow, manifest)

    # Coming and going

    def version(self, key: RunKey) -> tuple[str, str] | None:
        """Return UID and resourceVersion of a run as last seen, or None."""
        ours = self.live.get(key) or self.finished.get(key)
        if ours is not None:
            return ours.uid, ours.resource_version
        other = self.others.get(key)
        return (other.uid, other.version) if other else None

    def take_up(self, key: RunKey, manifest: Manifest) -> bool:
        """Sort in a run that is neither live nor finished here; return whether it is anything to this replica.

        Raises:
            ValueError: it can't be read; ``set_apart`` is for it.
        """
        uid = manifest["metadata"]["uid"]
        status = manifest.get("status") or {}
        self._uids[uid] = key
        self._odd.discard(uid)
        if RunPhase(status.get("phase", RunPhase.PENDING)).final:
            self.others.pop(key, None)
            self.finished[key] = FinishedRun.of(manifest)
            return True
        shard = self.shard_of(manifest)
        if shard in self.active:
            self._enliven(key, manifest, shard)
            self.others.pop(key, None)
            return True
        seen = self.others.get(key)
        if seen is None or newer(manifest, seen.version):
            snapshot = (status.get("workflow") or {}).get("snapshot")
            version = manifest["metadata"]["resourceVersion"]
            self.others[key] = Other(uid, version, shard, snapshot, manifest)
        return False

    def waiting(self, shards: Shards) -> list[RunKey]:
        """Return the live runs of shards that are not driven here yet."""
        return [
            key
            for key, other in self.others.items()
            if other.manifest is not None and self.shard_of(other.manifest) in shards
        ]

    def adopt(self, key: RunKey, shards: Shards) -> LiveRun | None:
        """Make another's live run ours, as it was last seen; None where it is of none of these shards, or gone."""
        other = self.others.get(key)
        if other is None or other.manifest is None or (shard := self.shard_of(other.manifest)) not in shards:
            return None
        del self.others[key]
        try:
            return self._enliven(key, other.manifest, shard)
        except ValueError as error:
            self.set_apart(key, other.manifest, error)
            return None

    def set_apart(self, key: RunKey, manifest: Manifest, error: ValueError) -> None:
        """Leave a run alone that can't be read, as if another replica drove it; it is looked at when it changes."""
        meta, status = manifest["metadata"], manifest.get("status") or {}
        log.error(
            "a run can't be read and is left alone: it may be of a later version of Kubernaut, then upgrade the "
            "operator; or delete the run, and take its finalizer off",
            extra={"run": str(key), "uid": meta["uid"], "error": _first(error)},
        )
        self._uids[meta["uid"]] = key
        self._odd.add(meta["uid"])
        snapshot = (status.get("workflow") or {}).get("snapshot")
        self.others[key] = Other(meta["uid"], meta["resourceVersion"], GLOBAL, snapshot, None)

    def awaiting(self, workflow: WorkflowKey) -> list[tuple[RunKey, Manifest]]:
        """Return the runs of a Workflow that are not driven here and not claimed yet: it says whose they are."""
        return [
            (key, other.manifest)
            for key, other in self.others.items()
            if other.manifest is not None
            and key.namespace == workflow.namespace
            and other.manifest["spec"]["workflowRef"]["name"] == workflow.name
            and not (other.manifest.get("status") or {}).get("target")
        ]

    def _enliven(self, key: RunKey, manifest: Manifest, shard: Shard) -> LiveRun:
        live = LiveRun.of(manifest)
        live.shard = shard
        # Not the run itself: it would be part of a cycle, which stays until a full garbage collection finds it.
        me = weakref.ref(live)
        live.lease = lambda: self.lease(_there(me))
        live.at_home = lambda home: self._at_home(_there(me), home)
        self.live[key] = live
        RUNS_LIVE.set(len(self.live))
        return live

    def _at_home(self, live: LiveRun, home: str) -> bool:
        shard = self._shards.shard_of(home)
        # Whether the lease has lapsed is for whoever sends something to ask.
        if shard != live.shard and shard not in self.active:
            live.gone = True
            if self.live.get(live.key) is live:
                self.set_aside(live.key, live, shard)
            return False
        live.shard = shard
        return True

    def set_aside(self, key: RunKey, live: LiveRun, shard: Shard) -> None:
        """Leave a live run to another replica."""
        del self.live[key]
        snapshot = live.status.workflow.snapshot if live.status.workflow else None
        self.others[key] = Other(live.uid, "", shard, snapshot, None)
        RUNS_LIVE.set(len(self.live))

    def end(self, key: RunKey, live: LiveRun) -> None:
        """Move a run that has ended, or is gone, out of the living."""
        del self.live[key]
        RUNS_LIVE.set(len(self.live))
        if live.gone:
            self._is_over(live.uid)
        else:
            self.finished[key] = FinishedRun.of_live(live)

    def forget(self, key: RunKey) -> LiveRun | None:
        """Forget a run whose object is gone; return it where it lived here."""
        live = self.live.pop(key, None)
        for run in (live, self.finished.pop(key, None), self.others.pop(key, None)):
            if run is not None:
                self._is_over(run.uid)
        RUNS_LIVE.set(len(self.live))
        return live

    def key_of(self, uid: str) -> RunKey | None:
        """Return where a run is known, or None."""
        return self._uids.get(uid)

    def keys(self) -> set[RunKey]:
        """Return all runs that are known."""
        return {*self.live, *self.others, *self.finished}

    def _is_over(self, uid: str) -> None:
        self._uids.pop(uid, None)
        self._odd.discard(uid)
        self._over[uid] = None
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    # What others need to know

    def over(self, uid: str) -> bool:
        """Whether a run is certainly over.

        One that is not known may be new, and driven by another replica: it counts as over once a list of all live
        runs that began after the question did not find it.
        """
        key = self._uids.get(uid)
        if key is not None:
            return key not in self.live and key not in self.others
        if uid in self._over:
            return True
        if len(self._asked) > _REMEMBERED:
            self._asked.clear()
        return self._asked.setdefault(uid, self._lists_begun) < self._lists_done

    def list_begins(self) -> int:
        """Take note that all live runs are about to be listed; return the list's number."""
        self._lists_begun += 1
        return self._lists_begun

    def list_ended(self, number: int) -> None:
        """Take note that a list of all live runs was taken up as a whole."""
        self._lists_done = max(self._lists_done, number)

    def used_snapshots(self) -> set[Snapshot]:
        """Return the snapshots that runs and Workflows refer to."""
        used: set[Snapshot] = set()
        for key, live in self.live.items():
            if live.status.workflow is not None:
                used.add((key.namespace, live.status.workflow.snapshot))
        known = [(key, one.snapshot) for key, one in self.finished.items()]
        known += [(key, one.snapshot) for key, one in self.others.items()]
        used.update((key.namespace, snapshot) for key, snapshot in known if snapshot is not None)
        for workflow, manifest in self.workflows.items():
            snapshot = (manifest.get("status") or {}).get("snapshot")
            if snapshot:
                used.add((workflow.namespace, snapshot))
        return used


def _first(error: ValueError) -> str:
    """Return what is wrong first, with its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"


def _there(run: weakref.ref[LiveRun]) -> LiveRun:
    """Return the run that is asking."""
    live = run()
    assert live is not None
    return live
