"""The attempts that only the running operator decides."""

from __future__ import annotations

from escalation.played import forged, guarded
from escalation.played.story import Played

ROWS: list[Played] = [*guarded.ROWS, *forged.ROWS]
