"""The attempts that only the running operator decides."""

from __future__ import annotations

from escalation.played import forged, gitops, guarded
from escalation.played.story import Played

ROWS: list[Played] = [*guarded.ROWS, *forged.ROWS, *gitops.ROWS]
