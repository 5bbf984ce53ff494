"""Autoscalers of a namespace, as an account is shown them: listed once for all that happens within seconds.

A run of five steps, and a hundred runs at once, would list the same ones each time, which is half as many requests
again as such steps need. Who makes an autoscaler while a run is under way may as well do so right after the run's
write; once it has scaled, the object itself tells.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kubernaut.core.errors import Forbidden, NotFound
from kubernaut.core.gitops.owners import AUTOSCALER
from kubernaut.core.ports import Cluster, Manifest

FRESH_SECONDS: Final = 5.0
MOST: Final = 1_000


@dataclass(slots=True)
class _Listed:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: float = float("-inf")
    found: Sequence[Manifest] | None = None


class Autoscalers:
    """What was listed lately, by account and namespace."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._listed: dict[tuple[str, str], _Listed] = {}

    async def beside(self, cluster: Cluster, account: str, namespace: str) -> Sequence[Manifest] | None:
        """Return the autoscalers of a namespace, at most 5 s old; None where the account may not list them.

        Args:
            cluster: as the account sees it.
            account: which one that is.

        Raises:
            ClusterError: they can't be listed now; the next one asks again.
        """
        known = self._of((account, namespace))
        async with known.lock:
            if known.at + FRESH_SECONDS <= self._monotonic():
                known.found = await _list(cluster, namespace)
                known.at = self._monotonic()
        return known.found

    def _of(self, key: tuple[str, str]) -> _Listed:
        known = self._listed.pop(key, None) or _Listed()
        self._listed[key] = known
        if len(self._listed) > MOST:
            del self._listed[next(iter(self._listed))]
        return known


async def _list(cluster: Cluster, namespace: str) -> Sequence[Manifest] | None:
    try:
        found = await cluster.list(*AUTOSCALER, namespace)
    except NotFound:
        # A cluster without that kind has nobody who scales by it.
        return ()
    except Forbidden:
        return None
    return [{"metadata": {"name": one["metadata"]["name"]}, "spec": _scales(one)} for one in found]


def _scales(manifest: Manifest) -> Manifest:
    return {"scaleTargetRef": (manifest.get("spec") or {}).get("scaleTargetRef")}
