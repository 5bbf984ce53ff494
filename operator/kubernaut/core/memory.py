"""What is remembered of objects while they are well, as actions get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import ObjectRef


@dataclass(frozen=True, slots=True)
class KnownGood:
    """A declaration with which an object was well.

    Attributes:
        content: the declaration, by field (see ``actions.knowngood.declaration``).
        first_seen: since when it was known to be good.
        last_seen: when the object was last seen well with it.
    """

    content: Mapping[str, Any]
    first_seen: datetime
    last_seen: datetime


class Memory(Protocol):
    """The memory of declarations. It is asked by UID only, once the object was read as the account that asks."""

    async def last_known_good(self, ref: ObjectRef, good_for: timedelta = timedelta(0)) -> KnownGood:
        """Return what is remembered of the object with this UID; what was in force last, where there are several.

        Args:
            good_for: only what was well for at least so long.

        Raises:
            StepError: NothingRemembered; HistoryAway, where that can't be told now; MemoryUnreadable, where its key
                is missing.
        """
        ...


class NoMemory:
    """The memory of an operator without a history."""

    async def last_known_good(self, ref: ObjectRef, good_for: timedelta = timedelta(0)) -> KnownGood:
        raise StepError(
            f"what {ref} was like can't be known: this operator has no history (KUBERNAUT_DSN is not set)",
            reason=Reason.HISTORY_AWAY,
        )
