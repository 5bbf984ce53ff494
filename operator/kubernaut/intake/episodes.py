"""Episodes as the API server has them: read from their runs, remembered for a moment, written back."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubernaut import tracing
from kubernaut.api.names import ANNOTATION_ALERTS, API_VERSION, LABEL_ALERT, LABEL_INCIDENT
from kubernaut.core.errors import AlreadyExists, Conflict, NotFound, StepError
from kubernaut.core.incidents import Episode, alert_label, read_episode
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.tracing import intake_span, trace_id
from kubernaut.engine.ports import OperatorCluster
from kubernaut.metrics import WRITES
from kubernaut.tracing import Kind, Span

#: seconds for which what was read is believed
FRESH: Final = 5.0
_MOST: Final = 20_000
_RUN: Final = "WorkflowExecution"


@dataclass(slots=True)
class Record:
    """An episode and the run that keeps it; ``dirty`` while it knows more than its run does."""

    incident: str
    workflow: str
    run: ObjectRef
    resource_version: str
    episode: Episode
    read_at: float
    dirty: bool = False


class Episodes:
    """The last episode of each incident."""

    def __init__(self, own: OperatorCluster, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._monotonic = monotonic
        self._records: OrderedDict[str, Record] = OrderedDict()
        # Incidents and their Workflows, by namespace, alertname and fingerprint: what a resolved alert belonged to.
        self._joined: OrderedDict[tuple[str, str, str], dict[str, str]] = OrderedDict()
        self._learned: dict[tuple[str, str], float] = {}

    def dirty(self) -> list[str]:
        """Return the incidents that are not written yet, those first that were not for the longest time."""
        return [name for name, record in self._records.items() if record.dirty]

    def known(self, incident: str) -> Record | None:
        """Return what is remembered, however old."""
        return self._records.get(incident)

    def note(self, record: Record, episode: Episode, alertname: str) -> None:
        """Have more known of an episode; it is to be written."""
        record.episode, record.dirty = episode, True
        self._index(record, alertname)

    async def latest(self, namespace: str, incident: str) -> Record | None:
        """Return the last episode of an incident; None where there is none.

        Raises:
            ClusterError: the API server refused or is away.
        """
        known = self._records.get(incident)
        if known is not None and (known.dirty or self._monotonic() - known.read_at < FRESH):
            return known
        latest: Manifest | None = None
        async for run in self._runs(namespace, f"{LABEL_INCIDENT}={incident}"):
            if latest is None or _cause(run)["episode"] > _cause(latest)["episode"]:
                latest = run
        if latest is None:
            self._records.pop(incident, None)
            return None
        return self._take(latest)

    async def create(self, manifest: Manifest) -> bool:
        """Create the run of an episode; False where it exists already, and was read.

        Raises:
            StepError: another object has its name, or the API server refused or is away (a ClusterError).
        """
        WRITES.labels("alert").inc()
        ref = ObjectRef.of(manifest)
        try:
            made = await self._own.create(manifest)
            self._take(made)
            _trace(made)
        except AlreadyExists:
            try:
                found = await self._own.get(ref)
            except NotFound:
                return False
            if _cause(found).get("incident") != _cause(manifest)["incident"]:
                told = f"{ref} exists, but is not the run of this incident; delete it, so that one can start"
                raise StepError(told) from None
            self._take(found)
            return False
        return True

    async def write(self, record: Record) -> bool:
        """Write what is known of an episode's alerts; False where its run had changed, and was read.

        Raises:
            ClusterError: the API server refused or is away.
        """
        body = {"metadata": {"annotations": {ANNOTATION_ALERTS: record.episode.written()}}}
        WRITES.labels("alert").inc()
        try:
            written = await self._own.patch(record.run, body, resource_version=record.resource_version)
        except (Conflict, NotFound):
            return await self._again(record)
        record.resource_version = written["metadata"]["resourceVersion"]
        record.read_at, record.dirty = self._monotonic(), False
        self._records.move_to_end(record.incident)
        return True

    async def _again(self, record: Record) -> bool:
        """Take up what another wrote: the engine its status, or another replica alerts."""
        try:
            found = await self._own.get(record.run)
        except NotFound:
            self._records.pop(record.incident, None)
            record.dirty = False
            return True
        record.episode = record.episode.merged(_episode(found))
        record.resource_version = found["metadata"]["resourceVersion"]
        return False

    async def of_alert(
        self, namespace: str, workflow: str, alertname: str, fingerprint: str
    ) -> Mapping[str, str]:
        """Return the incidents of a namespace to which an alert belongs, with their Workflows.

        Of the named Workflow it is asked where none is known: another replica may have opened that one alone.

        Raises:
            ClusterError: the API server refused or is away.
        """
        key = (namespace, alertname, fingerprint)
        if workflow not in self._joined.get(key, {}).values():
            await self._learn(namespace, alertname)
        return self._joined.get(key, {})

    async def _learn(self, namespace: str, alertname: str) -> None:
        """Find the incidents of an alert that another replica has opened, or this one before it was started anew."""
        now = self._monotonic()
        if now - self._learned.get((namespace, alertname), float("-inf")) < FRESH:
            return
        if len(self._learned) >= _MOST:
            self._learned.clear()
        async for run in self._runs(namespace, f"{LABEL_INCIDENT},{LABEL_ALERT}={alert_label(alertname)}"):
            known = self._records.get(_cause(run)["incident"])
            if known is None or (not known.dirty and known.episode.number <= _cause(run)["episode"]):
                self._take(run)
        self._learned[namespace, alertname] = now

    async def _runs(self, namespace: str, selector: str) -> AsyncIterator[Manifest]:
        async for page in self._own.list_pages(API_VERSION, _RUN, namespace, label_selector=selector):
            for run in page:
                # A label can be written by whoever may write runs; the cause is the operator's alone.
                if _cause(run):
                    yield run

    def _take(self, run: Manifest) -> Record:
        meta, cause = run["metadata"], _cause(run)
        record = Record(
            cause["incident"],
            run["spec"]["workflowRef"]["name"],
            ObjectRef.of(run),
            meta["resourceVersion"],
            _episode(run),
            read_at=self._monotonic(),
        )
        self._records[record.incident] = record
        self._records.move_to_end(record.incident)
        self._index(record, cause["name"])
        while len(self._records) > _MOST and not next(iter(self._records.values())).dirty:
            self._records.popitem(last=False)
        return record

    def _index(self, record: Record, alertname: str) -> None:
        for fingerprint in record.episode.alerts:
            key = record.run.namespace, alertname, fingerprint
            self._joined.setdefault(key, {})[record.incident] = record.workflow
            self._joined.move_to_end(key)
        while len(self._joined) > _MOST:
            self._joined.popitem(last=False)


def _cause(run: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = (run["spec"].get("trigger") or {}).get("alert") or {}
    return found


def _episode(run: Manifest) -> Episode:
    meta = run["metadata"]
    text = (meta.get("annotations") or {}).get(ANNOTATION_ALERTS, "")
    return read_episode(_cause(run)["episode"], text, datetime.fromisoformat(meta["creationTimestamp"]))


def _trace(made: Manifest) -> None:
    """Tell of how an alert started a run: the run's own span is below this one."""
    if not tracing.wanted():
        return
    uid, cause = made["metadata"]["uid"], _cause(made)
    attributes: dict[str, str | int | bool] = {
        "k8s.namespace.name": made["metadata"]["namespace"],
        "kubernaut.run": made["metadata"]["name"],
        "kubernaut.workflow": made["spec"]["workflowRef"]["name"],
        "kubernaut.alert": cause["name"],
        "kubernaut.incident": cause["incident"],
        "kubernaut.episode": cause["episode"],
    }
    tracing.end(
        Span(
            "alert",
            trace_id(uid),
            intake_span(uid),
            "",
            tracing.arrived(),
            time.time_ns(),
            attributes,
            kind=Kind.SERVER,
        )
    )
