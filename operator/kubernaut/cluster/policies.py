"""Whether the admission policies that say who may do what are in force; without them the operator does not act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.api.policies import ADMISSION_API, policy_names, policy_problems
from kubernaut.cluster.parts import Reads
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Manifest, ObjectRef

_POLICY: Final = "ValidatingAdmissionPolicy"
_BINDING: Final = "ValidatingAdmissionPolicyBinding"


class PolicyCheck:
    """Reads the policies by name and keeps the answer for a while."""

    def __init__(
        self,
        cluster: Reads,
        namespace: str = SYSTEM_NAMESPACE,
        *,
        every: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._every = every
        self._monotonic = monotonic
        self._checked_at: float | None = None
        self._problems: list[str] = []
        self._lock = asyncio.Lock()

    @property
    def known(self) -> list[str] | None:
        """The last answer, however old; None before the first."""
        return None if self._checked_at is None else list(self._problems)

    async def problems(self, *, now: bool = False) -> list[str]:
        """Return one sentence for each policy that is missing or weaker than shipped; empty where all is well.

        Args:
            now: read them again even if the last answer is younger than ``every`` seconds.

        Raises:
            ClusterError: they could not be read and there is no younger answer (Forbidden, Unavailable).
        """
        asked_at = self._monotonic()
        async with self._lock:
            if self._checked_at is not None:
                oldest = asked_at if now else self._monotonic() - self._every
                if self._checked_at > oldest:
                    return list(self._problems)
            began = self._monotonic()
            found = await asyncio.gather(
                *(self._read(kind, name) for name in policy_names() for kind in (_POLICY, _BINDING))
            )
            policies = [one for one in found if one is not None and one["kind"] == _POLICY]
            bindings = [one for one in found if one is not None and one["kind"] == _BINDING]
            self._problems = policy_problems(policies, bindings, self._namespace)
            self._checked_at = began
            return list(self._problems)

    async def _read(self, kind: str, name: str) -> Manifest | None:
        try:
            return await self._cluster.get(ObjectRef(ADMISSION_API, kind, "", name))
        except NotFound:
            return None
