"""Which steps of many are shown: those that move or failed, and counts in place of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kubernaut.api.execution import StepPhase
from kubernaut.cli.outline import Row

# So many steps are shown one by one; of more only what matters now.
ROOM = 40
_NEAR = 3
_ORDER = {StepPhase.FAILED: 0, StepPhase.RUNNING: 1, StepPhase.WAITING: 1}


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps that are not shown: how many in which phase, and the stages they belong to."""

    phases: Counter[str]
    sections: tuple[str, str]
    depth: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {phase}" for phase, count in sorted(self.phases.items()))
        return f"… {self.phases.total()} more: {counts}"


def visible(rows: Sequence[Row], room: int = ROOM) -> list[Row | Gap]:
    """Return the steps that fit, and a gap wherever others stand between them.

    Where not all fit: what failed, what moves, then the last that ended and the next that come; each below the
    steps around it.
    """
    if len(rows) <= room:
        return list(rows)
    kept = _kept(rows, room)
    shown: list[Row | Gap] = []
    hidden: list[Row] = []
    for at, row in enumerate(rows):
        if at not in kept:
            hidden.append(row)
            continue
        shown += _gap(hidden)
        hidden = []
        shown.append(row)
    return shown + _gap(hidden)


def _kept(rows: Sequence[Row], room: int) -> set[int]:
    by_name = {(row.run, row.name): at for at, row in enumerate(rows)}
    kept: set[int] = set()
    for at in _by_weight(rows):
        chain = {at}
        parent = rows[at].parent
        while (found := by_name.get((rows[at].run, parent))) is not None and found not in chain:
            chain.add(found)
            parent = rows[found].parent
        if len(kept | chain) <= room:
            kept |= chain
    return kept


def _by_weight(rows: Sequence[Row]) -> list[int]:
    weighty = [at for at, row in enumerate(rows) if row.record.phase in _ORDER]
    weighty.sort(key=lambda at: (_ORDER[rows[at].record.phase], rows[at].depth))
    ended = [at for at, row in enumerate(rows) if row.record.finished_at and row.record.phase not in _ORDER]
    ended.sort(key=lambda at: str(rows[at].record.finished_at), reverse=True)
    coming = [at for at, row in enumerate(rows) if row.record.phase is StepPhase.PENDING]
    return weighty + ended[:_NEAR] + coming[:_NEAR]


def _gap(hidden: Sequence[Row]) -> list[Row | Gap]:
    if not hidden:
        return []
    phases = Counter(row.record.phase.value for row in hidden)
    return [Gap(phases, (hidden[0].section, hidden[-1].section), min(row.depth for row in hidden))]
