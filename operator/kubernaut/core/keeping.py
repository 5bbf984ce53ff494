"""Where a step leaves what is too large for a run's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Keeper(Protocol):
    """Keeps one bundle for each step of a run, encrypted, for as long as the history keeps the run."""

    def refusal(self) -> str:
        """Return why nothing can be kept now, in words; empty where it can."""
        ...

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        """Keep a bundle in place of an earlier one of the step; return why it is not kept, or nothing.

        It is safe on disk when this returns, whether or not Postgres is there. Never raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class NotKept:
    """A keeper that keeps nothing.

    Attributes:
        why: what it says.
    """

    why: str

    def refusal(self) -> str:
        return self.why

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        return self.why


NO_HISTORY = NotKept("there is no history")
