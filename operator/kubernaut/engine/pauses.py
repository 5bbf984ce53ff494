"""Syncs that runs have paused: paused as the run's account, and let go on by whichever replica is there then.

A ticket is written first (``cluster/tickets.py``), so a pause that may have happened is always found again. One
replica, that of the global shard, looks at all tickets: it lets go on what is past its time, or has no reason now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from kubernaut.api.execution import Verdict
from kubernaut.api.guards import PauseSync, Resume
from kubernaut.api.reasons import Reason
from kubernaut.cluster.tickets import Ticket, Tickets
from kubernaut.core import fields
from kubernaut.core.errors import ClusterError, Conflict, Forbidden, NotFound, StepError, UnknownOutcome
from kubernaut.core.gitops import pausing
from kubernaut.core.gitops.owners import owners
from kubernaut.core.gitops.standing import standing
from kubernaut.core.guards.counting import Past
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import Accounts
from kubernaut.metrics import PAUSES, PAUSES_HELD, PAUSES_OVERDUE

log = logging.getLogger(__name__)
ROUNDS: Final = 8
#: how often what is known is looked at, and how often all tickets are listed
LOOK: Final = 1.0
LIST: Final = 15.0
_CHANGED_NOTHING: Final = frozenset(
    {Verdict.ROLLED_BACK, Verdict.DECLINED, Verdict.NO_ACTION_REQUIRED, Verdict.SELF_HEALED}
)


@dataclass(slots=True)
class Pauses:
    """Pauses syncs for runs, and lets them go on.

    Attributes:
        past: what is known of a run that began; None where nothing is.
        over: whether a run is certainly over.
        active: whether it is this replica that looks at all tickets.
        may_act: whether anything may be sent now.
    """

    accounts: Accounts
    tickets: Tickets
    signer: Signer
    clock: Callable[[], datetime]
    past: Callable[[str], Past | None] = lambda uid: None
    over: Callable[[str], bool] = lambda uid: False
    active: Callable[[], bool] = lambda: True
    may_act: Callable[[], bool] = lambda: True

    # Pausing

    async def pause(
        self, live: LiveRun, account: Cluster, said: Manifest, declared: PauseSync, argo_namespace: str
    ) -> str:
        """Pause the sync of an owner, once for a run; return what to tell of it.

        Raises:
            StepError: KeptByAnother, where somebody else would set that back, or has paused it himself.
            ClusterError: it can't be paused, Forbidden where the account may not.
        """
        ref = ObjectRef.of(said)
        parent = await self._parent(account, said, argo_namespace)
        if parent:
            raise StepError(f"the sync of {ref} was not paused: {parent}", reason=Reason.KEPT_BY_ANOTHER)
        until = self.clock() + declared.expires_after
        ticket = Ticket(
            ref,
            live.key.namespace,
            live.service_account,
            live.key.name,
            live.uid,
            until,
            declared.resume,
        )
        found = self._held(said, live.uid)
        if found is None:
            written = await self.tickets.write(ticket)
            try:
                found = await self._paused(account, ref, live.uid, until)
            except Forbidden:
                if written is not None:
                    await self.tickets.tear(written)
                raise
            PAUSES.labels("paused").inc()
        when = f"until {found:%Y-%m-%d %H:%M:%S}Z"
        end = ", or until the run ends" if declared.resume is Resume.AT_RUN_END else ""
        return f"the sync of {ref} is paused {when}{end}"

    async def _parent(self, account: Cluster, said: Manifest, argo_namespace: str) -> str:
        """Return who would set a pause back, in words; nothing where nobody would."""
        for one in said["metadata"].get("ownerReferences") or ():
            if one.get("kind") == "ApplicationSet":
                return f"ApplicationSet {one.get('name')} makes it, and would set it back"
        ref = ObjectRef.of(said)
        path, _ = pausing.FIELDS[said["kind"]]
        for owner in owners(said, [path], argo_namespace=argo_namespace):
            if owner.ref is None or not owner.undoes:
                continue
            try:
                above = standing(owner, await account.get(owner.ref), ref)
            except ClusterError as error:
                if error.transient:
                    raise
                above = owner
            if above.undoes:
                return f"{above.name} keeps its {above.told_fields}, and would set it back; pause that one by hand"
        return ""

    async def _paused(self, account: Cluster, ref: ObjectRef, run_uid: str, until: datetime) -> datetime:
        """Have an owner's object hold the pause; return until when the run holds it."""
        last: ClusterError | None = None
        for _ in range(ROUNDS):
            seen = await account.get(ref)
            if seen["metadata"]["uid"] != ref.uid:
                raise StepError(f"{ref} was made anew meanwhile", reason=Reason.KEPT_BY_ANOTHER)
            if (held := self._held(seen, run_uid)) is not None:
                return held
            wanted = pausing.paused(seen, run_uid, until, self.signer)
            if wanted is None:
                # Somebody else has paused it since: then nothing is set back, and nothing of ours is to be lifted.
                return until
            try:
                await _write(account, seen, wanted)
                return until
            except (Conflict, UnknownOutcome) as error:
                last = error
        assert last is not None
        raise last

    def _held(self, seen: Manifest, run_uid: str) -> datetime | None:
        """Return until when a run holds an owner's object paused; None where it does not."""
        found = pausing.read(seen, self.signer)
        return found.holders.get(run_uid) if found is not None and pausing.is_paused(seen) else None

    # Letting go on

    async def run(self) -> None:
        """Look at all tickets, for ever; ends by being cancelled."""
        known: list[Ticket] = []
        listed, failed = float("-inf"), dict[str, float]()
        while True:
            await asyncio.sleep(LOOK)
            if not self.active():
                known, listed = [], float("-inf")
                # Another replica looks after them now, and shows them.
                PAUSES_HELD.set(0)
                PAUSES_OVERDUE.set(0)
                continue
            try:
                if time.monotonic() - listed >= LIST:
                    known, listed = await self.tickets.read(), time.monotonic()
                known = await self.sweep(known, failed)
            except ClusterError as error:
                log.warning("paused syncs could not be looked at", extra={"error": str(error)})
                listed = time.monotonic()

    async def sweep(self, known: Sequence[Ticket], failed: dict[str, float]) -> list[Ticket]:
        """Let go on what has no reason to be paused any more; return the tickets that are left."""
        left: list[Ticket] = []
        late = 0
        for ticket in known:
            if not self.due(ticket):
                left.append(ticket)
                continue
            again = failed.get(ticket.name, float("-inf"))
            if not self.may_act() or time.monotonic() < again:
                left.append(ticket)
                late += 1
                continue
            try:
                await self.resume(ticket)
                await self.tickets.tear(ticket)
                failed.pop(ticket.name, None)
            except Exception as error:
                # One odd ticket must not keep the others waiting.
                failed[ticket.name] = time.monotonic() + LIST
                left.append(ticket)
                late += 1
                PAUSES.labels("failed").inc()
                log.error(
                    "a paused sync could not be let go on; trying again later",
                    exc_info=None if isinstance(error, ClusterError) else error,
                    extra={
                        "owner": str(ticket.owner),
                        "run": f"{ticket.namespace}/{ticket.run}",
                        "error": str(error),
                    },
                )
        PAUSES_HELD.set(len(left))
        PAUSES_OVERDUE.set(late)
        return left

    def due(self, ticket: Ticket) -> bool:
        """Whether a sync is to go on: its time is over, or its run is and left nothing that needs the pause."""
        if self.clock() >= ticket.until:
            return True
        if not self.over(ticket.run_uid):
            return False
        if ticket.resume is Resume.AT_RUN_END:
            return True
        run = self.past(ticket.run_uid)
        return run is not None and run.verdict in _CHANGED_NOTHING

    async def resume(self, ticket: Ticket) -> None:
        """Take a run's hold off an owner's object, as the account that paused it; what is gone needs nothing.

        Raises:
            ClusterError: that can't be done now.
        """
        account = self.accounts.as_account(ticket.namespace, ticket.account)
        last: ClusterError | None = None
        for _ in range(ROUNDS):
            try:
                seen = await account.get(replace(ticket.owner, uid=""))
            except NotFound:
                return
            if seen["metadata"]["uid"] != ticket.owner.uid:
                return
            wanted = pausing.resumed(seen, ticket.run_uid, self.signer)
            if wanted is None:
                return
            try:
                await _write(account, seen, wanted)
            except (Conflict, UnknownOutcome) as error:
                last = error
                continue
            PAUSES.labels("resumed").inc()
            log.info("a paused sync goes on", extra={"owner": str(ticket.owner), "run": ticket.run_uid})
            return
        assert last is not None
        raise last


async def _write(account: Cluster, seen: Manifest, wanted: Manifest) -> None:
    body = fields.merge_patch(seen, wanted)
    await account.patch(ObjectRef.of(seen), body, resource_version=seen["metadata"]["resourceVersion"])
