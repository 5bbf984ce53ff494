"""Diagnostics bundles on their way: encrypted and on disk at once, in Postgres whenever it is there.

Also what sees to the keys: every ten minutes it is looked for what is under another key than the first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

from kubernaut.history import bundles
from kubernaut.history.bundles import Bundles
from kubernaut.history.bundlespool import BundleSpool
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import HistoryError, KeysUnusable, KeyUnknown, Rejected, Tampered

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_SWITCHED_OFF_PAUSE: Final = 1.0
_ROTATE_SECONDS: Final = 600.0
_ROTATE_AT_ONCE: Final = 20
log = logging.getLogger(__name__)


class BundleMirror:
    """The keeper (``core.keeping``) that steps are given.

    Args:
        database: where to.
        keys: what to encrypt with.
        spool: what waits.
        enabled: whether the history is switched on; while it is not, what waits goes on waiting.
        also: what else is encrypted anew when the key has changed, with the bundles.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        spool: BundleSpool,
        *,
        enabled: Callable[[], bool] = lambda: True,
        also: Sequence[Callable[[], Awaitable[int]]] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._bundles = Bundles(database)
        self._keys = keys
        self._spool = spool
        self._enabled = enabled
        self._also = also
        self._monotonic = monotonic
        self._disk = asyncio.Lock()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._failures = 0
        self._rotate_at = float("-inf")
        #: set once all that is encrypted has been looked at for old keys
        self.rotated = asyncio.Event()
        self._note_work()

    @property
    def waiting(self) -> int:
        """How many bundles wait on disk."""
        return len(self._spool)

    def refusal(self) -> str:
        """Return why nothing can be kept now, in words; empty where it can."""
        return self._keys.trouble()

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        """Keep a bundle in place of an earlier one of the step; return why it is not kept, or nothing."""
        try:
            bundle = await asyncio.to_thread(bundles.seal, self._keys, run_uid, step, taken_at, content)
        except (KeysUnusable, ValueError) as error:
            return str(error)
        async with self._disk:
            why_not = await asyncio.to_thread(self._spool.put, bundle)
        self._note_work()
        if why_not:
            log.error("a diagnostics bundle is not kept", extra={"step": step, "error": why_not})
        return why_not

    async def idle(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled. Failures are logged and tried again; they never end this."""
        while True:
            until_rotation = max(self._rotate_at - self._monotonic(), 0.0)
            try:
                async with asyncio.timeout(until_rotation):
                    await self._work.wait()
            except TimeoutError:
                pass
            if not self._enabled():
                await asyncio.sleep(_SWITCHED_OFF_PAUSE)
                continue
            pause = self._database.breaker.opens_in or await self._round()
            self._note_work()
            if pause:
                await asyncio.sleep(pause)

    def _note_work(self) -> None:
        (self._work.set if self.waiting else self._work.clear)()
        (self._idle.clear if self.waiting else self._idle.set)()

    async def _round(self) -> float:
        """Store one bundle, or see to the keys; return how long to pause, in seconds."""
        try:
            if self.waiting:
                await self._store_one()
            elif self._monotonic() >= self._rotate_at:
                await self.rotate()
                for rotate in self._also:
                    await rotate()
                self._rotate_at = self._monotonic() + _ROTATE_SECONDS
                self.rotated.set()
        except HistoryError as error:
            if not self._failures:
                log.warning("diagnostics bundles wait", extra={"error": str(error), "waiting": self.waiting})
            return self._pause()
        except Exception:
            log.exception("diagnostics bundles could not be stored; it is tried again")
            return self._pause()
        self._failures = 0
        return 0.0

    def _pause(self) -> float:
        pause = min(_FIRST_PAUSE * 2.0**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        return max(pause, self._database.breaker.opens_in)

    async def _store_one(self) -> None:
        async with self._disk:
            found = await asyncio.to_thread(self._spool.first)
        if found is None:
            return
        name, bundle = found
        try:
            await self._bundles.save(bundle)
        except Rejected as error:
            async with self._disk:
                await asyncio.to_thread(self._spool.set_aside, name, error)
            return
        async with self._disk:
            await asyncio.to_thread(self._spool.remove, name, bundle)

    async def rotate(self) -> int:
        """Encrypt with the current key what is encrypted with another one; return how many bundles were.

        Raises:
            HistoryError: Postgres can't be asked, or there are no keys.
        """
        current, at, done = self._keys.current, ("", ""), 0
        while some := await self._bundles.under_other_keys(current, at, _ROTATE_AT_ONCE):
            for bundle in some:
                try:
                    fresh = await asyncio.to_thread(bundles.again, self._keys, bundle)
                except (KeyUnknown, Tampered) as error:
                    extra = {"run_uid": bundle.run_uid, "step": bundle.step, "error": str(error)}
                    log.error("a diagnostics bundle can't be read", extra=extra)
                    continue
                done += await self._bundles.replace(bundle, fresh)
            at = (some[-1].run_uid, some[-1].step)
        if done:
            log.info("diagnostics bundles were encrypted anew", extra={"bundles": done, "key": current})
        return done
