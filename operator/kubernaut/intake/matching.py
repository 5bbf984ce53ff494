"""From an alert to the runs it asks for: the Workflows it fits, their parameters, their targets."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubernaut.api.reach import namespace_of
from kubernaut.api.workflow import Lifecycle
from kubernaut.cluster.sharedreads import SharedReads
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import Scope
from kubernaut.core.incidents import incident_key
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.triggers import Alert, PlannedTrigger
from kubernaut.engine.ports import Accounts
from kubernaut.engine.reach import Reach
from kubernaut.intake.owners import Wanted, owner_of

log = logging.getLogger(__name__)
_MOST_ACCOUNTS: Final = 1_000
_MOST_READS: Final = 5_000
#: seconds for which a target is believed to be what it was; before a run is started for it, it is read anew
BELIEVED: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fit:
    """A Workflow that an alert starts, by one of its triggers."""

    namespace: str
    workflow: str
    uid: str
    plan: Plan
    trigger: PlannedTrigger


@dataclass(frozen=True, slots=True)
class Asked:
    """The run that an alert asks for.

    Attributes:
        incident: what its incident is told apart by.
        values: the run's parameters, as texts.
        fresh: whether all that was read for it was read for this alert, and not for one before.
    """

    fit: Fit
    alert: Alert
    incident: str
    target_uid: str
    values: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = True


class RecentReads:
    """Reads that are shared, and believed for some seconds: fifty alerts of one Deployment read it once."""

    def __init__(
        self, read: Callable[[ObjectRef], Awaitable[Manifest]], monotonic: Callable[[], float]
    ) -> None:
        self._shared = SharedReads(read)
        self._monotonic = monotonic
        self._found: dict[ObjectRef, tuple[Manifest, float]] = {}

    async def fresh(self, ref: ObjectRef) -> Manifest:
        """Return the object as it is now; raises ClusterError."""
        found = await self._shared.get(ref)
        if len(self._found) >= _MOST_READS:
            self._found.clear()
        # All that is looked at, for many are kept.
        slim = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": found["metadata"]}
        if "scaleTargetRef" in (found.get("spec") or {}):
            slim["spec"] = found["spec"]
        self._found[ref] = slim, self._monotonic()
        return slim

    def recent(self, ref: ObjectRef) -> Manifest | None:
        """Return the object as it was some seconds ago; None where it was not read then."""
        found, at = self._found.get(ref, (None, 0.0))
        return found if self._monotonic() - at < BELIEVED else None


class _Noted:
    """Reads for one alert; ``fresh`` while none of them was believed."""

    def __init__(self, reads: RecentReads, *, only_fresh: bool) -> None:
        self._reads = reads
        self._only_fresh = only_fresh
        self.fresh = True

    async def get(self, ref: ObjectRef) -> Manifest:
        believed = None if self._only_fresh else self._reads.recent(ref)
        if believed is None:
            return await self._reads.fresh(ref)
        self.fresh = False
        return believed


class Triggers:
    """The triggers of all Workflows that are ready, found by the alertnames they are for."""

    def __init__(
        self, workflows: Callable[[], Iterable[Manifest]], plan_of: Callable[[Manifest], Plan]
    ) -> None:
        self._workflows = workflows
        self._plan_of = plan_of
        self._stamp: list[tuple[str, Any]] = []
        self._named: dict[str, list[Fit]] = {}
        self._any: list[Fit] = []
        self._idle: list[tuple[str, str]] = []

    def idle(self, namespace: str) -> list[str]:
        """Return the Workflows of a namespace that have triggers, and that no alert starts as they are now."""
        return [name for place, name in self._idle if place == namespace]

    def fits(self, labels: Mapping[str, str], name: str) -> list[Fit]:
        """Return the Workflows that an alert starts, each with the first of its triggers that fits."""
        found: dict[str, Fit] = {}
        for fit in (*self._named.get(name, ()), *self._any):
            known = found.get(fit.uid)
            if (known is None or fit.trigger.position < known.trigger.position) and fit.trigger.matches(
                labels
            ):
                found[fit.uid] = fit
        return list(found.values())

    def look(self) -> None:
        """Take up what changed of the Workflows; once for many alerts, for there may be many of both."""
        workflows = [one for one in self._workflows() if not one["metadata"].get("deletionTimestamp")]
        stamp = [(one["metadata"]["uid"], one["metadata"].get("generation")) for one in workflows]
        if stamp == self._stamp:
            return
        self._stamp, self._named, self._any, self._idle = stamp, {}, [], []
        for workflow in workflows:
            meta = workflow["metadata"]
            try:
                plan = self._plan_of(workflow)
            except StepError as error:
                if workflow["spec"].get("triggers"):
                    self._idle.append((meta["namespace"], meta["name"]))
                    told = {"workflow": f"{meta['namespace']}/{meta['name']}"}
                    log.warning(
                        "no alert starts a Workflow that is not ready", extra={**told, "error": str(error)}
                    )
                continue
            if plan.spec.lifecycle is Lifecycle.ACTIVE:
                self._add(meta, plan)
            elif plan.triggers:
                self._idle.append((meta["namespace"], meta["name"]))

    def _add(self, meta: Mapping[str, Any], plan: Plan) -> None:
        for trigger in plan.triggers:
            fit = Fit(meta["namespace"], meta["name"], meta["uid"], plan, trigger)
            for name in trigger.names or ():
                self._named.setdefault(name, []).append(fit)
            if trigger.names is None:
                self._any.append(fit)


class Matching:
    """Finds what an alert asks for."""

    def __init__(
        self,
        accounts: Accounts,
        triggers: Triggers,
        namespace_label: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``namespace_label`` is the label of alerts that names the namespace they are about."""
        self._accounts = accounts
        self._label = namespace_label
        self._monotonic = monotonic
        self._triggers = triggers
        self._reach = Reach(accounts.own())
        self._reads: dict[tuple[str, str], RecentReads] = {}
        # Most namespaces may not act beyond themselves, and a storm would ask for each of them with each alert.
        self._confined: dict[str, float] = {}

    def look(self) -> None:
        """Take up what changed of the Workflows."""
        self._triggers.look()

    async def fits(self, alert: Alert) -> list[Fit]:
        """Return the Workflows that an alert may start.

        Those of the alert's own namespace, and those of namespaces that may act beyond themselves: what an alert
        says of one namespace is none of the business of another.

        Raises:
            ClusterError: a namespace can't be read now.
        """
        place = alert.labels.get(self._label, "")
        found = []
        for fit in self._triggers.fits(alert.labels, alert.name):
            if fit.namespace == place or await self._reaches(fit.namespace):
                found.append(fit)
        return found

    def idle(self, alert: Alert) -> list[tuple[str, str]]:
        """Return namespace and name of the Workflows that alerts of this one's namespace may have started before."""
        place = alert.labels.get(self._label, "")
        return [(place, name) for name in self._triggers.idle(place)]

    async def _reaches(self, namespace: str) -> bool:
        if self._monotonic() - self._confined.get(namespace, float("-inf")) < BELIEVED:
            return False
        try:
            await self._reach.demand(namespace, "an alert of another namespace")
        except StepError as error:
            if error.transient:
                raise
            if len(self._confined) >= _MOST_READS:
                self._confined.clear()
            self._confined[namespace] = self._monotonic()
            return False
        return True

    async def asked(self, fit: Fit, alert: Alert, *, fresh: bool = False) -> Asked:
        """Return the run that an alert asks for, with its target as it is in the cluster, or was some seconds ago.

        Raises:
            StepError: why it asks for none: no such object, a label that is not there, a right that is missing.
        """
        spec = fit.plan.spec
        reads = _Noted(self._as(fit.namespace, spec.service_account_name), only_fresh=fresh)
        owner: Manifest | None = None
        if fit.trigger.uses_owner:
            wanted = Wanted(spec.target.api_version, spec.target.kind)
            owner = await owner_of(reads, wanted, fit.namespace, alert.labels)
        values = fit.trigger.values(alert, _told(owner))
        params = parse_parameters(spec, values)
        name = str(fit.plan.target_name.render(Scope(params, {}, {"namespace": fit.namespace})))
        if owner is None or owner["metadata"]["name"] != name:
            place = namespace_of(spec.target.api_version, spec.target.kind, fit.namespace)
            if not place:
                await self._reach.demand(fit.namespace, f"{spec.target.kind} {name}")
            owner = await reads.get(ObjectRef(spec.target.api_version, spec.target.kind, place, name))
        uid: str = owner["metadata"]["uid"]
        return Asked(fit, alert, incident_key(fit.uid, uid, alert.name), uid, values, reads.fresh)

    def _as(self, namespace: str, account: str) -> RecentReads:
        """Return reads as an account."""
        key = namespace, account
        if key not in self._reads:
            if len(self._reads) >= _MOST_ACCOUNTS:
                self._reads.clear()
            read = self._accounts.as_account(namespace, account).get
            self._reads[key] = RecentReads(read, self._monotonic)
        return self._reads[key]


def _told(owner: Manifest | None) -> dict[str, str]:
    if owner is None:
        return {}
    meta = owner["metadata"]
    return {
        "apiVersion": str(owner.get("apiVersion", "")),
        "kind": str(owner.get("kind", "")),
        "name": str(meta["name"]),
        "namespace": str(meta.get("namespace", "")),
        "uid": str(meta["uid"]),
    }
