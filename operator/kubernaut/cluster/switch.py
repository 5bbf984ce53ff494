"""The stop switch: a ConfigMap that the operator must keep reading as ``on`` to be allowed to act.

The operator reads it twice a second from etcd's quorum and acts only while its last read that said ``on`` began
less than 1.5 s ago. The flags of single features (``features``) and the guards of the cluster (``levels``) are in the
same ConfigMap and come with the same read. So it stops within 2 s of ``kubernaut stop``: either it sees the change,
or it sees nothing and stops for that. It needs neither Postgres nor a watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from kubernaut.api.names import GROUP, SWITCH_CONFIGMAP, SYSTEM_NAMESPACE
from kubernaut.cluster.features import ACTING, FEATURE_PREFIX, Features
from kubernaut.cluster.levels import LevelGuards
from kubernaut.cluster.parts import Keeps
from kubernaut.core.errors import AlreadyExists, ClusterError, Conflict, NotFound, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef

log = logging.getLogger(__name__)

ON: Final = "on"
STOPPED: Final = "stopped"
# Where somebody looks for the master switch among the flags: anything but on stops, too.
_FLAG: Final = f"{FEATURE_PREFIX}{ACTING}"
OBSERVED_ANNOTATION: Final = f"{GROUP}/observed-switch"
READ_EVERY: Final = 0.5
TRUSTED_FOR: Final = 1.5
READ_TIMEOUT: Final = 1.0
_TRIES: Final = 8
Sleep = Callable[[float], Awaitable[None]]


class SwitchCluster(Protocol):
    """What reading the switch needs of a cluster."""

    async def get(self, ref: ObjectRef, *, timeout: float, urgent: bool) -> Manifest: ...

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest: ...


@dataclass(frozen=True, slots=True)
class SwitchState:
    """What the switch says: ``on`` or ``stopped``, by whom, why, and since when (RFC 3339)."""

    acting: str
    by: str = ""
    reason: str = ""
    since: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> SwitchState:
        """Read a ConfigMap."""
        data = manifest.get("data") or {}
        # It is shipped without data: nobody has ever stopped anything then.
        acting, flag = str(data.get("acting", ON)), str(data.get(_FLAG, ON))
        if acting == ON != flag:
            acting = f"{_FLAG}: {flag}"
        return cls(acting, *(str(data.get(field) or "") for field in ("by", "reason", "since")))

    @property
    def token(self) -> str:
        """What the operator writes to say that it has seen this state."""
        return f"{self.acting}@{self.since}"


def observed(manifest: Manifest) -> str:
    """Return the token of the state that the operator last said it has seen."""
    return str((manifest["metadata"].get("annotations") or {}).get(OBSERVED_ANNOTATION, ""))


def switch_ref(namespace: str = SYSTEM_NAMESPACE) -> ObjectRef:
    """Return the switch's ConfigMap."""
    return ObjectRef("v1", "ConfigMap", namespace, SWITCH_CONFIGMAP)


class ActingSwitch:
    """Whether this operator may act right now. ``acting_allowed`` is exact at any moment, between reads too."""

    def __init__(
        self,
        cluster: SwitchCluster,
        namespace: str = SYSTEM_NAMESPACE,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.features = Features()
        self.guards = LevelGuards()
        self._cluster = cluster
        self._ref = switch_ref(namespace)
        self._monotonic = monotonic
        self._sleep = sleep
        self._began = monotonic()
        self._read_at: float | None = None
        self._state: SwitchState | None = None
        self._trouble = ""
        self._told: tuple[bool, str] | None = None
        self._callbacks: list[Callable[[bool, str], None]] = []

    @property
    def state(self) -> SwitchState | None:
        """What the last read found; None before the first, and where the ConfigMap does not exist."""
        return self._state

    def acting_allowed(self) -> bool:
        """Whether the last read said ``on`` and began less than 1.5 s ago."""
        return self._fresh() and self._state is not None and self._state.acting == ON

    def refusal(self) -> str:
        """Say in one sentence why acting is not allowed; empty where it is."""
        if not self._fresh():
            since = self._read_at if self._read_at is not None else self._began
            why = f" ({self._trouble})" if self._trouble else ""
            return f"the stop switch could not be read for {self._monotonic() - since:.0f} s{why}"
        if self._state is None:
            return (
                f"the stop switch {self._ref} does not exist; apply manifests/base, or run `kubernaut start`"
            )
        if self._state.acting == STOPPED:
            return f"stopped by {self._state.by or 'somebody'}: {self._state.reason or 'no reason given'}"
        if self._state.acting != ON:
            return (
                f"the stop switch {self._ref} says {self._state.acting[:40]!r}, not on; run `kubernaut start`"
            )
        return ""

    def on_change(self, callback: Callable[[bool, str], None]) -> None:
        """Have ``callback(allowed, kind)`` called after each change.

        ``kind`` is one word for metrics: ``on``, ``stopped``, ``missing``, ``unreadable`` or ``invalid``.
        """
        self._callbacks.append(callback)

    @property
    def kind(self) -> str:
        """One word for what holds now, see ``on_change``."""
        if not self._fresh():
            return "unreadable"
        if self._state is None:
            return "missing"
        return self._state.acting if self._state.acting in (ON, STOPPED) else "invalid"

    async def run(self) -> None:
        """Read for ever; ends by being cancelled."""
        while True:
            began = self._monotonic()
            try:
                await self.read()
            except Exception:
                # Without reads nothing is allowed; but reading must go on, for nobody else would begin it again.
                log.exception("reading the stop switch failed unexpectedly")
            await self._sleep(max(0.0, READ_EVERY - (self._monotonic() - began)))

    async def read(self) -> None:
        """Read once, acknowledge what is new, tell what changed. Never raises but for cancellation."""
        began = self._monotonic()
        try:
            # The time at which the read began counts: what it brings may be as old as that.
            manifest = await self._cluster.get(self._ref, timeout=READ_TIMEOUT, urgent=True)
            self._state, self._read_at, self._trouble = SwitchState.of(manifest), began, ""
            self.features.see(manifest.get("data") or {})
            self.guards.see(manifest.get("data") or {})
        except NotFound:
            manifest = None
            self._state, self._read_at, self._trouble = None, began, ""
        except ClusterError as error:
            manifest = None
            self._trouble = str(error)
        self._tell()
        if manifest is not None:
            await self._acknowledge(manifest)

    async def _acknowledge(self, manifest: Manifest) -> None:
        assert self._state is not None
        if observed(manifest) == self._state.token:
            return
        body = {"metadata": {"annotations": {OBSERVED_ANNOTATION: self._state.token}}}
        try:
            version = manifest["metadata"]["resourceVersion"]
            # Bounded, for the next read must not wait for it.
            async with asyncio.timeout(READ_TIMEOUT):
                await self._cluster.patch(self._ref, body, resource_version=version)
        except (Conflict, NotFound):
            return  # it changed again; the next read sees it
        except TimeoutError:
            log.warning("the stop switch could not be acknowledged in time")
        except ClusterError as error:
            log.warning("the stop switch could not be acknowledged", extra={"error": str(error)})

    def _fresh(self) -> bool:
        return self._read_at is not None and self._monotonic() - self._read_at < TRUSTED_FOR

    def _tell(self) -> None:
        now = (self.acting_allowed(), self.kind)
        if now == self._told:
            return
        self._told = now
        log.warning("acting is %s", "allowed" if now[0] else "not allowed", extra={"why": self.refusal()})
        for callback in self._callbacks:
            try:
                callback(*now)
            except Exception:
                log.exception("a callback of the stop switch failed")


@dataclass(frozen=True, slots=True)
class Switched:
    """What became of setting the switch.

    Attributes:
        acknowledged: the operator said in time that it has seen it.
        seconds: from writing the switch to the acknowledgement, or how long it was waited for.
        before: what it said before; None where it did not exist.
    """

    state: SwitchState
    before: SwitchState | None
    acknowledged: bool
    seconds: float

    def told(self, namespace: str = SYSTEM_NAMESPACE) -> str:
        """Say it honestly, in one or two sentences."""
        what = "stopped" if self.state.acting == STOPPED else "allowed"
        if self.acknowledged:
            return f"Acting is {what}: the operator acknowledged it after {self.seconds:.1f} s."
        waited = f"No operator acknowledged it within {self.seconds:.1f} s"
        if self.state.acting == STOPPED:
            return (
                f"The switch says stopped. {waited}: either none runs, or it can't read or write the switch, and "
                f"then it may not act either; check with `kubectl -n {namespace} get pods`."
            )
        return f"The switch says on. {waited}: check that it runs."


async def set_switch(
    cluster: Keeps,
    *,
    acting: bool,
    by: str,
    reason: str,
    namespace: str = SYSTEM_NAMESPACE,
    wait: float = 2.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> Switched:
    """Set the switch with the rights of whoever calls, and wait for the operator to say that it has seen it.

    Raises:
        ClusterError: it could not be written (Forbidden names the right that lacks); nothing was changed, but for
            UnknownOutcome.
    """
    since = now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    state = SwitchState(ON if acting else STOPPED, by, reason, since)
    before = await _write(cluster, switch_ref(namespace), state)
    began = monotonic()
    while True:
        try:
            if observed(await cluster.get(switch_ref(namespace))) == state.token:
                return Switched(state, before, True, monotonic() - began)
        except ClusterError as error:
            log.debug("the switch could not be read", extra={"error": str(error)})
        if monotonic() - began >= wait:
            return Switched(state, before, False, monotonic() - began)
        await sleep(0.1)


async def _write(cluster: Keeps, ref: ObjectRef, state: SwitchState) -> SwitchState | None:
    data = {"acting": state.acting, "by": state.by, "reason": state.reason, "since": state.since}
    before: SwitchState | None = None
    for left in reversed(range(_TRIES)):
        try:
            found: dict[str, Any] = await cluster.get(ref)
        except NotFound:
            meta = {"name": ref.name, "namespace": ref.namespace}
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            with contextlib.suppress(AlreadyExists):
                await cluster.create(manifest)
                return None
            continue
        seen = SwitchState.of(found)
        if seen == state:
            return before  # an earlier try was lost on its way back, not on its way there
        before = seen
        # Starting clears a flag that would still stop.
        stale = {_FLAG: None} if state.acting == ON and _FLAG in (found.get("data") or {}) else {}
        try:
            await cluster.patch(
                ref, {"data": data | stale}, resource_version=found["metadata"]["resourceVersion"]
            )
        except (Conflict, UnknownOutcome):
            if not left:
                raise
            continue
        return before
    raise Conflict(f"{ref} keeps being changed by others; try again", status=409)


__all__ = [
    "OBSERVED_ANNOTATION",
    "ActingSwitch",
    "SwitchState",
    "Switched",
    "observed",
    "set_switch",
    "switch_ref",
]
