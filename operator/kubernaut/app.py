"""The operator: where its parts are put together. Run it with ``python -m kubernaut.app``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from functools import partial

import kopf
import uvloop
from pydantic import ValidationError

from kubernaut import __version__, logs
from kubernaut.actions.registry import ActionRegistry
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.canary import Canary
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.leases import Leases
from kubernaut.cluster.policies import PolicyCheck
from kubernaut.cluster.session import Session, member_name
from kubernaut.cluster.sharedwatches import SharedWatches
from kubernaut.cluster.signing import load_signer
from kubernaut.cluster.slots import Slots
from kubernaut.cluster.switch import ActingSwitch
from kubernaut.cluster.tickets import Tickets
from kubernaut.cluster.watchsession import watch_session
from kubernaut.config import Settings
from kubernaut.core.errors import ClusterError, KubernautError
from kubernaut.core.features import Feature
from kubernaut.core.marker import Signer
from kubernaut.engine.afterlife import Afterlife, RecordLoader
from kubernaut.engine.alerting import AlertStates
from kubernaut.engine.capacities import Capacities
from kubernaut.engine.claims import Claims
from kubernaut.engine.effects import Performer
from kubernaut.engine.engine import Engine, Key
from kubernaut.engine.eta import Estimator
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.engine.gauges import Silences, show_wait
from kubernaut.engine.guarding import Guarding
from kubernaut.engine.hearing import Heard, Hearing
from kubernaut.engine.holds import Gate
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.owning import GitOps
from kubernaut.engine.parts import Parts
from kubernaut.engine.past import PastRuns
from kubernaut.engine.pauses import Pauses
from kubernaut.engine.permissions import PermissionWatch
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.postgres import History, keeper_of
from kubernaut.engine.queue import KeyedQueue
from kubernaut.engine.remembering import Remembering
from kubernaut.engine.runs import RunReconciler
from kubernaut.engine.shards import ShardKeeper
from kubernaut.engine.sweep import SnapshotSweep
from kubernaut.engine.targets import Lookout
from kubernaut.engine.unending import unending
from kubernaut.engine.workflows import WorkflowReconciler
from kubernaut.garbage import ShortCollections
from kubernaut.handlers import WATCHED, WatchGuard, registry_for, settings_for
from kubernaut.history.repository import Repository
from kubernaut.intake.intake import Intake
from kubernaut.loop import done_before, on_signals, unless_closed, unless_kopf_ends
from kubernaut.metrics import WATCH_CANARY, show_breaker
from kubernaut.server.health import HealthServer
from kubernaut.services import alerts_of, metrics_of, notifier_of, proposals_of, traced, web_of

log = logging.getLogger(__name__)


def utcnow() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class Application:
    """One replica of the operator."""

    def __init__(
        self, settings: Settings, connection: ApiConnection, signer: Signer, health: HealthServer
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._health = health
        own = connection.own()
        self.queue: KeyedQueue[Key] = KeyedQueue(waited=show_wait)
        self.switch = ActingSwitch(own, settings.namespace)
        self.history = history = self._history(own)
        evidence = AvailabilityEvidence(history.seen if history else None)
        features = self.switch.features
        gate, locks = Gate(self.switch, features), TargetLocks(self.queue.add)
        catalogue = ActionRegistry(finished=lambda run_uid: self.engine.finished(run_uid))
        capacities = Capacities(
            Slots(own, settings.namespace, utcnow), features.capacity, gate.off, self.queue.add
        )
        self._watches = SharedWatches(connection)
        mirror = history.mirror if history else None
        self._alerts = alerts_of(settings, utcnow)
        guards = Guarding(PastRuns(utcnow), utcnow, self.switch.guards, self._alerts)
        self._pauses = self._pausing(signer, gate, guards)
        self._policies = PolicyCheck(own, settings.namespace, every=settings.policy_check.total_seconds())
        claims, rights = Claims(connection, catalogue, utcnow), self._permissions(guards)
        self.canary = Canary()
        WATCH_CANARY.set_function(lambda: self.canary.age)
        self.hearing = Hearing()
        self.shards = _shards(settings, connection, self.canary)
        parts = Parts(
            settings=settings,
            cluster=own,
            runs=self._reconciler(
                claims, self._performer(signer, evidence, gate, guards), locks, gate, capacities, guards
            ),
            workflows=WorkflowReconciler(own, catalogue, utcnow, gate.off, rights),
            afterlife=Afterlife(
                own, mirror, mirror, RecordLoader(own), settings.delete_grace, utcnow, enabled=features.on
            ),
            evidence=evidence,
            gate=gate,
            locks=locks,
            check_policies=self._check_policies,
            sweep=SnapshotSweep(own, claims.forget_snapshot, utcnow, settings.resync),
            clock=utcnow,
            instance=settings.replica,
            shards=self.shards,
            target_key=claims.target_key,
            capacities=capacities,
            guards=guards,
            pauses=self._pauses,
            hearing=self.hearing,
        )
        self._intake = self._receiving(claims)
        self.engine = Engine(parts, self.queue)
        self._tell_each_other(parts)
        self.ready = False

    def _reconciler(
        self,
        claims: Claims,
        performer: Performer,
        locks: TargetLocks,
        gate: Gate,
        capacities: Capacities,
        guards: Guarding,
    ) -> RunReconciler:
        asks = self._settings.alertmanager_url is not None
        return RunReconciler(
            self._connection,
            claims,
            performer,
            locks,
            Lookout(self._connection, self._watches, self.queue.add),
            gate.hold,
            utcnow,
            gate.off,
            capacities,
            guards,
            AlertStates(self._alerts, utcnow, asks),
            metrics_of(self._settings, utcnow, self.queue.add),
        )

    def _permissions(self, guards: Guarding) -> PermissionWatch:
        return PermissionWatch(
            self._connection,
            self.queue.add,
            levels=guards.levels_with,
            argo_namespace=self._settings.argocd_namespace,
        )

    def _performer(
        self, signer: Signer, evidence: AvailabilityEvidence, gate: Gate, guards: Guarding
    ) -> Performer:
        return Performer(
            self._connection,
            signer,
            evidence,
            gate.hold,
            utcnow,
            keeper=keeper_of(self.history),
            memory=self.history.memory if self.history else None,
            protecting=guards.protecting,
            web=web_of(self._settings, self._connection),
            gitops=GitOps(
                guards.levels_of,
                partial(self.switch.features.on, Feature.GITOPS),
                self._settings.argocd_namespace,
                proposals_of(self._settings, self._connection),
                self._pauses,
                signer,
            ),
        )

    def _pausing(self, signer: Signer, gate: Gate, guards: Guarding) -> Pauses:
        tickets = Tickets(self._connection.own(), self._settings.namespace)
        return Pauses(
            self._connection,
            tickets,
            signer,
            utcnow,
            guards.past.get,
            may_act=lambda: gate.hold() is None,
        )

    def _receiving(self, claims: Claims) -> Intake | None:
        """Return what takes alerts; None where none are to be taken."""
        if self._settings.alerts_port is None:
            return None

        def not_ready() -> str | None:
            on = self.switch.features.on(Feature.ALERTS)
            return self.not_ready() or (None if on else "the feature alerts is switched off")

        return Intake(
            self._settings,
            self._connection,
            lambda: self.engine.workflows(),
            claims.plan_of,
            utcnow,
            not_ready,
        )

    def _history(self, own: OperatorCluster) -> History | None:
        if not self._settings.dsn:
            return None
        enabled = partial(self.switch.features.on, Feature.HISTORY)
        return History(self._settings, RecordLoader(own), enabled, utcnow)

    def _tell_each_other(self, parts: Parts) -> None:
        """Have parts told of what happens in others."""
        features = self.switch.features
        if self.history is not None:
            self.history.engine = self.engine
            estimator = Estimator(Repository(self.history.database), enabled=lambda: features.on(Feature.ETA))
            parts.runs.estimate = estimator.of
        self.switch.on_change(lambda *_: self.engine.on_switch())
        features.on_change(self.engine.wake_all)
        self.switch.guards.on_change(self.engine.wake_all)
        show_breaker("kubernetes", lambda: self._connection.breaker.state)

    def deaf(self) -> str | None:
        """Return what watches do not bring though they should have for long, or None."""
        most, age = self._settings.deaf_after.total_seconds(), self.canary.age
        if age > most:
            return f"no watch has brought what this replica renews for {age:.0f} s"
        kind = self.hearing.deaf(most)
        return f"the watch on {kind} has brought nothing since it missed something" if kind else None

    def not_ready(self) -> str | None:
        """Return why this replica is not ready, or None; one to which others left nothing to do is."""
        return self.shards.trouble if self.ready else "the operator is starting"

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.

        Raises:
            ClusterError: the API server does not let the operator work at all.
        """
        features = self.switch.features
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._watches.close)
            if self.history is not None:
                await stack.enter_async_context(self.history.running())
            else:
                log.warning("no history: KUBERNAUT_DSN is not set; runs are not remembered")
            await self.switch.read()
            lease = member_name(self._settings.replica)
            watching = partial(self.canary.watch, self._connection.own(), self._settings.namespace, lease)
            stack.callback(asyncio.create_task(unending("the watch's canary", watching)).cancel)
            reading = asyncio.create_task(self.switch.run())
            stack.callback(reading.cancel)
            stack.push_async_callback(self.engine.stop)
            # All that is loaded stays; to look through it for garbage again and again would hold the loop for 0.2 s.
            collections = ShortCollections()
            collections.set_aside()
            collections.install()
            stack.callback(collections.remove)
            if not await done_before(self.engine.start(), stop):
                # It may have waited for an API server that is away, and nobody should have to kill it for that.
                return
            if (remembering := self._remembering()) is not None:
                remember = unending("remembering what objects are like", remembering.run)
                stack.callback(asyncio.create_task(remember).cancel)
            notifying = partial(features.on, Feature.NOTIFICATIONS)
            notifier = notifier_of(self._settings, self._connection, utcnow, self.engine, notifying)
            if notifier is not None:
                stack.callback(asyncio.create_task(unending("notifying", notifier.run)).cancel)
            if self._intake is not None:
                stack.push_async_callback(self._intake.stop)
                await self._intake.start()
            collections.set_aside()
            await self._watch(stop)

    def _remembering(self) -> Remembering | None:
        """Return what remembers objects while they are well; None where nothing is to be remembered."""
        settings, features = self._settings, self.switch.features
        if not settings.remember:
            return None
        if self.history is None:
            log.warning("nothing is remembered of objects: KUBERNAUT_REMEMBER needs KUBERNAUT_DSN")
            return None
        if settings.encryption_keys is None:
            log.warning(
                "nothing is remembered of objects: KUBERNAUT_REMEMBER needs KUBERNAUT_ENCRYPTION_KEYS"
            )
            return None

        def wanted() -> bool:
            return self.shards.holds_global() and features.on(Feature.REMEMBER)

        own, store = self._connection.own(), self.history.known_good
        return Remembering(own, store, settings.remember_after, wanted, utcnow)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Let Kopf watch until told to stop; ``ready`` once its watches are on their way.

        When Kopf ends it cancels every task that was made since it began, also those it knows nothing of; so what
        is under way is brought to its end first.
        """
        registry = registry_for(Heard(self.engine, self.hearing), self._login)
        ready, halt = asyncio.Event(), asyncio.Event()
        told = asyncio.create_task(stop.wait())
        watching = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=settings_for(),
                standalone=True,
                clusterwide=not self._settings.watched,
                namespaces=self._settings.watched,
                ready_flag=ready,
                stop_flag=halt,
            )
        )
        await asyncio.wait({watching, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        # Kopf has taken the signals for itself.
        on_signals(stop.set)
        self.ready = ready.is_set()
        log.info("ready", extra={"version": __version__})
        try:
            await asyncio.wait({watching, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ready = False
            told.cancel()
            if self._intake is not None:
                await self._intake.stop()
            await self.engine.stop()
            await self._health.stop()
            asyncio.get_running_loop().set_exception_handler(unless_kopf_ends)
            halt.set()
            await watching

    async def _check_policies(self) -> list[str]:
        return await self._policies.problems(now=True)

    def _login(self, _: kopf.OperatorSettings) -> kopf.AiohttpSession:
        """Have Kopf watch through our own session: behind the same breaker, with the same credentials."""
        silences = Silences(WATCHED)
        session = watch_session(self._connection, WATCHED, silences.heard)
        return kopf.AiohttpSession(server=self._connection.host, aiohttp_session=session)


async def operate(settings: Settings) -> None:
    """Connect, put the operator together, and run it until SIGTERM or SIGINT.

    Raises:
        KubernautError: it can't work here; says why and what to do.
        OSError: the port of the endpoint can't be had.
    """
    stop = asyncio.Event()
    on_signals(stop.set)
    asyncio.get_running_loop().set_exception_handler(unless_closed)
    probes = Probes()
    async with contextlib.AsyncExitStack() as stack:
        if (close := traced(settings)) is not None:
            stack.push_async_callback(asyncio.to_thread, close)
        connection = await stack.enter_async_context(
            await ApiConnection.load(
                settings.kubeconfig,
                breaker=Breaker(
                    "the API server",
                    fail_max=settings.breaker_failures,
                    probe_every=settings.breaker_probe.total_seconds(),
                ),
                namespaces=settings.watched,
            )
        )
        health = HealthServer(
            settings.bind,
            settings.port,
            probes.seconds_since_progress,
            probes.not_ready,
            probes.broken,
            probes.ready,
        )
        stack.push_async_callback(health.stop)
        port = await health.start()
        log.info("serving metrics and health", extra={"port": port})
        signer = await _patiently(connection, settings, stop)
        if signer is not None:
            probes.application = Application(settings, connection, signer, health)
            await probes.application.run(stop)


class Probes:
    """What the endpoint tells, also before the operator is put together: to wait is no reason for a restart."""

    def __init__(self) -> None:
        self.application: Application | None = None
        self._guard = WatchGuard()

    def seconds_since_progress(self) -> float:
        """Return how long ago a worker proved that it works."""
        return self.application.engine.seconds_since_progress if self.application else 0.0

    def broken(self) -> str | None:
        """Return what only a restart brings back, or None."""
        if self.application is None or not self.application.ready:
            return None
        dead = self._guard.dead()
        return f"no watch on {', '.join(dead)} any more" if dead else self.application.deaf()

    def not_ready(self) -> str | None:
        """Return why the operator is not ready, or None."""
        if self.application is None:
            return "the operator waits for the API server"
        return self.application.not_ready()

    def ready(self) -> str:
        """Return what to say where it is ready."""
        standby = self.application is not None and self.application.shards.standby
        return "ok; other replicas hold all shards, and this one stands by" if standby else "ok"


def _shards(settings: Settings, connection: ApiConnection, canary: Canary) -> ShardKeeper:
    """Return what keeps this replica's share of the shards."""
    duration, renew = settings.lease_duration.total_seconds(), settings.lease_renew.total_seconds()
    leases = Leases(connection.own(), settings.namespace, utcnow, timeout=renew)
    session = Session(leases, settings.replica, settings.shards, duration)
    session.written = canary.wrote
    return ShardKeeper(leases, session, settings.shards, renew)


async def _patiently(connection: ApiConnection, settings: Settings, stop: asyncio.Event) -> Signer | None:
    """Load the signing key; wait for an API server that is away, for it often starts after us."""
    pause = 0.5
    while not stop.is_set():
        try:
            return await load_signer(connection.own(), settings.namespace)
        except ClusterError as error:
            if not error.transient:
                raise
            log.warning("waiting for the API server", extra={"host": connection.host, "error": str(error)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(pause, error.retry_after or 0.0))
            pause = min(pause * 2, 5.0)
    return None


def main() -> int:
    """Run the operator; 1 where it can't work, with the reason on stderr."""
    try:
        settings = Settings()
    except ValidationError as error:
        detail = error.errors()[0]
        name = "_".join(["KUBERNAUT", *map(str, detail["loc"])]).upper()
        told = f"setting {name}: {detail['msg']}" if detail["loc"] else detail["msg"]
        print(f"kubernaut: {told}", file=sys.stderr)
        return 1
    logs.set_up(settings.log_level, settings.log_format)
    try:
        uvloop.run(operate(settings))
    except (KubernautError, OSError) as error:
        log.critical("the operator can't work: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
