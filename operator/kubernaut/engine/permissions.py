"""Whether the accounts of Workflows have the rights that are needed, asked of the API server before any run.

Asked as the account itself: everybody may ask what he may do, so the operator needs no right for it. One request
tells all of an account's rules in a namespace, whatever the number of its Workflows. Requests are sent one after the
other, at most ``PER_SECOND`` of them, so that a thousand Workflows make no storm; no run waits for them.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from kubernaut.api.guards import GitOpsMode, Guards
from kubernaut.api.reasons import Reason
from kubernaut.cluster.keepers import with_pauses
from kubernaut.cluster.scopes import Discovers, Scopes, find_scopes
from kubernaut.core.errors import ClusterError, MayNotActAs, NotFound
from kubernaut.core.gitops.changing import mode
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.permissions import Permissions, no_account, no_leave, not_known, permissions
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef, Right
from kubernaut.core.rights import Need, Needs, Weight, guarded, kinds, needed, singly
from kubernaut.core.rules import beyond, lacking
from kubernaut.engine.keys import WorkflowKey
from kubernaut.metrics import ACCESS_REVIEWS

log = logging.getLogger(__name__)
#: what a client of controller-runtime may ask for by default
PER_SECOND: Final = 20.0
#: after a Workflow was written: its Role often comes with it
FIRST: Final = 1.0
#: within which those are asked for again that were told of before this process began
SPREAD: Final = 60.0
AGAIN: Final = 600.0
#: what lacks is asked for again soon, and less often the longer it does
SOONEST: Final = 5.0
LATEST: Final = 60.0
#: how long one answer serves all Workflows of an account
FRESH: Final = 5.0
#: of how many rights that no rule gives it is asked one by one, for authorizers that tell no rules
MOST_SINGLY: Final = 64


class Asks(Protocol):
    """An account that can ask what it may do."""

    async def rules(self, namespace: str) -> Sequence[Mapping[str, Any]]: ...

    async def allowed(self, right: Right, namespace: str) -> bool: ...

    async def get(self, ref: ObjectRef) -> Manifest: ...


class Reads(Protocol):
    """What reads an object as the operator."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


class Askers(Discovers, Protocol):
    """Accounts by name, and the kinds of the cluster."""

    def as_account(self, namespace: str, service_account: str) -> Asks: ...

    def own(self) -> Reads: ...


def _own(namespace: str, workflow: str, guards: Guards | None) -> Sequence[Level]:
    return (Level(Reach.WORKFLOW, workflow, guards),) if guards is not None else ()


class TooMuchDoubt(ClusterError):
    """No rule gives so many of the rights that not all of them were asked for one by one."""

    reason = Reason.REVIEW_FAILED


@dataclass(slots=True)
class _Entry:
    """A Workflow: what it needs, what was found, and when it is looked at next."""

    uid: str
    generation: int
    account: str
    plan: Plan | None
    due: float
    levels: Callable[[], Sequence[Level]] = tuple
    target_kind: str = ""
    needs: Needs = field(default_factory=Needs)
    kinds: frozenset[tuple[str, str]] = frozenset()
    found: Permissions | None = None
    asked_at: float = float("-inf")
    refusals: int = 0


class PermissionWatch:
    """Keeps what is known of the rights of each Workflow's account.

    Args:
        changed: is told of a Workflow of which something else is known now.
        active: whether it is this replica that says what Workflows are.
        levels: the guards that hold for a Workflow, by its namespace, name and own guards.
        argo_namespace: where Argo CD keeps Applications that name no namespace.
    """

    def __init__(
        self,
        accounts: Askers,
        changed: Callable[[WorkflowKey], None],
        *,
        active: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[float, float], float] = random.uniform,
        levels: Callable[[str, str, Guards | None], Sequence[Level]] = _own,
        argo_namespace: str = "argocd",
    ) -> None:
        self._accounts = accounts
        self._changed = changed
        self.active = active
        self._monotonic = monotonic
        self._sleep = sleep
        self._spread = spread
        self._levels = levels
        self._argo_namespace = argo_namespace
        self._entries: dict[WorkflowKey, _Entry] = {}
        self._heap: list[tuple[float, WorkflowKey]] = []
        self._rules: dict[tuple[str, str], tuple[float, Sequence[Mapping[str, Any]]]] = {}
        self._earlier = asyncio.Event()

    # What it is told, and asked

    def look(self, manifest: Manifest, plan: Plan, told: bool) -> Permissions | None:
        """Return what is known of a Workflow as it is now; None where that is still to be found out.

        Args:
            told: whether its status tells of this generation already.
        """
        meta = manifest["metadata"]
        key = WorkflowKey(meta["namespace"], meta["name"])
        generation = int(meta.get("generation", 0))
        entry = self._entries.get(key)
        if entry is not None and (entry.uid, entry.generation) == (meta.get("uid"), generation):
            return entry.found
        account = plan.spec.service_account_name
        wait = self._spread(0.0, SPREAD) if told else self._spread(FIRST, FIRST * 1.5)
        entry = _Entry(meta.get("uid", ""), generation, account, plan, self._monotonic() + wait)
        # Guards of namespace and cluster change without the Workflow, so they are asked for each time.
        guards = plan.spec.guards
        entry.levels = lambda: self._levels(key.namespace, key.name, guards)
        entry.target_kind = plan.spec.target.kind
        self._entries[key] = entry
        self._push(key, entry)
        return None

    def forget(self, key: WorkflowKey) -> None:
        """Forget a Workflow that is gone, or that can't run."""
        self._entries.pop(key, None)

    def refused(self, key: WorkflowKey) -> None:
        """Take note that a run of a Workflow lacked a right: look soon, though not again and again."""
        entry = self._entries.get(key)
        if entry is None:
            return
        due = max(self._monotonic() + FIRST, entry.asked_at + SOONEST)
        if due < entry.due:
            entry.due = due
            self._push(key, entry)

    def _push(self, key: WorkflowKey, entry: _Entry) -> None:
        heapq.heappush(self._heap, (entry.due, key))
        self._earlier.set()

    # Asking

    async def run(self) -> None:
        """Look at what is due, for ever; ends by being cancelled."""
        while True:
            # Many Workflows of one account come from one answer: others must get their turn between them.
            await asyncio.sleep(0)
            key = await self._next()
            entry = self._entries.get(key)
            if entry is not None and self.active():
                await self._find_out(key, entry)
            elif entry is not None:
                entry.due = self._monotonic() + SPREAD
                self._push(key, entry)

    async def _next(self) -> WorkflowKey:
        while True:
            self._earlier.clear()
            while self._heap:
                due, key = self._heap[0]
                entry = self._entries.get(key)
                if entry is None or entry.due != due:
                    heapq.heappop(self._heap)  # it is gone, or stands elsewhere now
                    continue
                left = due - self._monotonic()
                if left <= 0:
                    heapq.heappop(self._heap)
                    return key
                break
            else:
                left = LATEST
            waiting = asyncio.ensure_future(self._earlier.wait())
            sleeping = asyncio.ensure_future(self._sleep(left))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    async def _find_out(self, key: WorkflowKey, entry: _Entry) -> None:
        try:
            found: Permissions | None = await self._permissions(key, entry)
        except MayNotActAs as error:
            found = no_leave(error)
        except ClusterError as error:
            # What was known stays true as far as anybody knows while the API server is away.
            found = (
                not_known(entry.account, error) if not error.transient or entry.found is None else entry.found
            )
        except Exception as error:
            log.exception(
                "the rights of a Workflow's account could not be looked at", extra={"workflow": str(key)}
            )
            found = not_known(entry.account, error)
        entry.asked_at = self._monotonic()
        ready = found is not None and found.ready is True
        entry.refusals = 0 if ready else entry.refusals + 1
        wait = AGAIN if ready else min(LATEST, SOONEST * 2 ** min(entry.refusals - 1, 10))
        entry.due = entry.asked_at + wait * self._spread(0.8, 1.2)
        if self._entries.get(key) is not entry:
            return
        self._push(key, entry)
        if found != entry.found:
            entry.found = found
            self._changed(key)

    async def _permissions(self, key: WorkflowKey, entry: _Entry) -> Permissions:
        if entry.plan is not None:
            # The plan itself is kept no longer than it is needed.
            entry.needs, entry.kinds, entry.plan = needed(entry.plan), kinds(entry.plan), None
        scopes = await find_scopes(self._accounts, entry.kinds)
        levels = entry.levels()
        needs = guarded(entry.needs.corrected(scopes.names), levels, entry.target_kind)
        if mode(levels)[0] is GitOpsMode.PAUSE_SYNC:
            await self._pace("keepers")
            acting = self._accounts.as_account(key.namespace, entry.account)
            needs = await with_pauses(acting, key.namespace, needs, self._argo_namespace)
        lacks = await self._lacks(key.namespace, entry.account, needs, scopes)
        if any(need.weight is Weight.MUST for need in lacks) and not await self._exists(
            key.namespace, entry.account
        ):
            return no_account(key.namespace, entry.account)
        return permissions(key.name, key.namespace, entry.account, needs, lacks)

    async def _lacks(self, namespace: str, account: str, needs: Needs, scopes: Scopes) -> list[Need]:
        """Return the needs, or what is left of them, that the account has no rights for."""
        asks = self._accounts.as_account(namespace, account)
        rules = await self._rules_of(namespace, account, asks)
        doubtful: list[Need] = []
        for need in needs.needs:
            # A rule may be of a Role, which does not hold beyond its namespace.
            left = need.right if beyond(need.right, scopes.wide) else lacking(rules, need.right)
            if left is not None:
                doubtful.append(replace(need, right=left))
        doubtful += needs.elsewhere
        return await self._denied(namespace, asks, doubtful, scopes)

    async def _denied(
        self, namespace: str, asks: Asks, doubtful: Sequence[Need], scopes: Scopes
    ) -> list[Need]:
        """Return those of the needs that are denied when they are asked for one by one."""
        found: list[Need] = []
        unasked: list[Need] = []
        answers: dict[tuple[Right, str], bool] = {}
        for need in sorted(doubtful, key=lambda need: need.weight):
            where = "" if beyond(need.right, scopes.wide) else need.namespace or namespace
            for right in singly([need.right]):
                one = replace(need, right=right)
                if (right, where) not in answers and len(answers) == MOST_SINGLY:
                    unasked.append(one)
                    continue
                if (right, where) not in answers:
                    await self._pace("access")
                    answers[right, where] = await asks.allowed(right, where)
                if not answers[right, where]:
                    found.append(one)
        if unasked and not found:
            raise TooMuchDoubt(f"no rule of its Roles gives {len(unasked) + MOST_SINGLY} of the rights")
        return found + unasked

    async def _rules_of(self, namespace: str, account: str, asks: Asks) -> Sequence[Mapping[str, Any]]:
        known = self._rules.get((namespace, account))
        if known is not None and self._monotonic() - known[0] < FRESH:
            return known[1]
        await self._pace("rules")
        asked_at = self._monotonic()
        rules = await asks.rules(namespace)
        self._rules = {key: one for key, one in self._rules.items() if asked_at - one[0] < FRESH}
        self._rules[namespace, account] = asked_at, rules
        return rules

    async def _exists(self, namespace: str, account: str) -> bool:
        await self._pace("account")
        try:
            await self._accounts.own().get(ObjectRef("v1", "ServiceAccount", namespace, account))
        except NotFound:
            return False
        return True

    async def _pace(self, kind: str) -> None:
        ACCESS_REVIEWS.labels(kind).inc()
        await self._sleep(1 / PER_SECOND)
