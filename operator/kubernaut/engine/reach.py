"""Whether runs of a namespace may act beyond it: its label says so, which the operator reads itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from kubernaut.api.names import LABEL_CLUSTER_SCOPED
from kubernaut.api.reach import reaches_beyond
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Manifest, ObjectRef

#: seconds for which a label that was there counts; a step that evicts many pods asks before each
TRUSTED: Final = 2.0
_MOST: Final = 1_000


class Reads(Protocol):
    """The part of a cluster that is needed."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


class Reach:
    """Reads namespaces as the operator, so that no account can tell it anything about them."""

    def __init__(self, own: Reads, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._monotonic = monotonic
        self._allowed: dict[str, float] = {}

    async def demand(self, namespace: str, what: str) -> None:
        """Let a run of this namespace act beyond it.

        Raises:
            StepError: BeyondNamespace, where it may not.
            ClusterError: the namespace can't be read now.
        """
        began = self._monotonic()
        if began - self._allowed.get(namespace, float("-inf")) < TRUSTED:
            return
        self._allowed.pop(namespace, None)
        try:
            found = await self._own.get(ObjectRef("v1", "Namespace", "", namespace))
        except NotFound:
            found = {"metadata": {}}
        if not reaches_beyond(found):
            raise StepError(
                f"{what} is beyond namespace {namespace}, whose Workflows may act in it only: it lacks the label "
                f"{LABEL_CLUSTER_SCOPED}: 'true'",
                reason=Reason.BEYOND_NAMESPACE,
            )
        if len(self._allowed) >= _MOST:
            self._allowed.clear()
        self._allowed[namespace] = began
