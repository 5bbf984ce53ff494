"""The analysis process: ``python -m kubernaut.analyst [--once]``.

Reads finished runs from the history, and writes what recurs as ``DiscoveredPattern`` objects. It runs
beside the operator, which never waits for it and never loads the numerical libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from pydantic import ValidationError

from kubernaut.cluster.account import OperatorCluster
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.features import Features
from kubernaut.cluster.switch import switch_ref
from kubernaut.config import Settings
from kubernaut.core.errors import ClusterError, KubernautError
from kubernaut.core.features import Feature
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.history.database import Database
from kubernaut.history.errors import BadDsn, HistoryUnavailable, Superseded
from kubernaut.history.patternstore import PatternStore
from kubernaut.history.repository import Repository
from kubernaut.logs import set_up
from kubernaut.patterns.analysis import Analysis, Round
from kubernaut.patterns.objects import ClusterPatterns, Objects
from kubernaut.patterns.settings import AnalystSettings
from kubernaut.patterns.telemetry import observe, serve

log = logging.getLogger("kubernaut.analyst")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0


class NoHistory(KubernautError):
    """There is no Postgres to learn from."""


def analysis_of(database: Database, objects: Objects, settings: AnalystSettings) -> Analysis:
    """Put an analysis together; its memory is empty until the first round."""
    sink = ClusterPatterns(objects, settings.namespace)
    return Analysis(Repository(database), PatternStore(database), sink, settings)


class Reads(Protocol):
    """What the flag is read with."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


class DiscoveryFlag:
    """Whether patterns are looked for: ``feature.discovery`` in the switch's ConfigMap."""

    def __init__(self, cluster: Reads, namespace: str) -> None:
        self._cluster = cluster
        self._ref = switch_ref(namespace)
        self._features = Features()
        self._trouble = ""

    async def read(self) -> bool:
        """Read the flag; while that is not possible, what was read last holds (on, before the first time)."""
        try:
            found = await self._cluster.get(self._ref)
        except ClusterError as error:
            if str(error) != self._trouble:
                log.warning("the flag of discovery can't be read", extra={"error": str(error)})
            self._trouble = str(error)
        else:
            self._trouble = ""
            self._features.see(found.get("data") or {})
        return self._features.on(Feature.DISCOVERY)


async def run_once(database: Database, objects: Objects, settings: AnalystSettings) -> Round:
    """Do one round from an empty memory and return what it did.

    Raises:
        HistoryError, ClusterError: as they say.
    """
    return await analysis_of(database, objects, settings).round()


async def run(
    analysis: Analysis, settings: AnalystSettings, stop: asyncio.Event, enabled: Callable[[], Awaitable[bool]]
) -> None:
    """Do rounds until ``stop`` is set; while discovery is switched off, only say so.

    A service that is away, or does not let us in yet, is waited for, each time longer, up to 30 s.

    Raises:
        HistoryError: of the kinds that waiting does not mend, e.g. a wrong password.
    """
    wait, next_wait = 0.0, _FIRST_WAIT
    while not stop.is_set():
        try:
            done = None
            if await enabled():
                done = await analysis.round()
            else:
                await _off(analysis)
        except (HistoryUnavailable, Superseded, ClusterError) as error:
            wait, next_wait = next_wait, min(_LONGEST_WAIT, 2 * next_wait)
            log.warning("round failed, waiting", extra={"error": str(error), "seconds": wait})
        else:
            wait, next_wait = settings.interval.total_seconds(), _FIRST_WAIT
            if done is not None:
                tell(done, analysis)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stop.wait()


async def _off(analysis: Analysis) -> None:
    if told := await analysis.pause():
        log.info("discovery is switched off", extra={"patterns_told": told})


def tell(done: Round, analysis: Analysis | None = None) -> None:
    """Log and measure a round; one that found nothing new is of no interest to people."""
    found = analysis.discovery if analysis is not None else None
    observe(done, found.patterns if found is not None else ())
    wrote = done.objects_created + done.objects_patched + done.patterns_written + done.conflicts
    if done.superseded:
        log.warning("somebody else writes the same patterns: let only one analyst run on a history")
    level = logging.INFO if wrote or done.read else logging.DEBUG
    log.log(level, "round done", extra=done.to_json())


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[Database, OperatorCluster]]:
    """Lend the history and the cluster; Postgres is contacted at first use.

    Raises:
        NoHistory, InvalidDsn, Unavailable: no address, an unreadable one, no credentials for a cluster.
    """
    if settings.dsn is None:
        raise NoHistory("no history to learn from: set KUBERNAUT_DSN to the address of Postgres")
    database = Database(settings.dsn.get_secret_value(), connections=2)
    try:
        connection = await ApiConnection.load(settings.kubeconfig, pool=2)
        try:
            yield database, connection.own()
        finally:
            await connection.close()
    finally:
        await database.close()


async def work(settings: Settings, analyst: AnalystSettings, *, once: bool) -> None:
    """Run until SIGTERM or SIGINT, or for one round."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connected(settings) as (database, objects):
        flag = DiscoveryFlag(objects, settings.namespace)
        if once:
            if await flag.read():
                tell(await run_once(database, objects, analyst))
            else:
                await _off(analysis_of(database, objects, analyst))
            return
        if analyst.metrics_port:
            serve(settings.bind, analyst.metrics_port)
        await run(analysis_of(database, objects, analyst), analyst, stop, flag.read)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; return 0, 1 where a round failed, 2 where the settings are wrong."""
    parser = argparse.ArgumentParser(
        prog="kubernaut.analyst", description="Learn patterns from finished runs."
    )
    parser.add_argument("--once", action="store_true", help="do one round and exit")
    parser.add_argument("--interval", help="time between two rounds, e.g. 5s")
    given = parser.parse_args(arguments)
    try:
        settings = Settings()
        analyst = AnalystSettings.model_validate({"interval": given.interval} if given.interval else {})
    except ValidationError as error:
        print(f"kubernaut.analyst: {error}", file=sys.stderr)
        return 2
    set_up(settings.log_level, settings.log_format)
    try:
        asyncio.run(work(settings, analyst, once=given.once))
    except KubernautError as error:
        log.error("stopping", extra={"error": str(error), "kind": type(error).__name__})
        return 2 if isinstance(error, (NoHistory, BadDsn)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
