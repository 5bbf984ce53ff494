"""The finished runs that discovery knows, by column, with equal looks stored once (about 0.4 KB a run)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kubernaut.patterns.terms import RunLike, RunTerms, known_seconds, terms_of


@dataclass
class RunTable:
    """Columns of runs in the order they were added; ``look[i]`` is the index in ``rows`` of run i's terms."""

    with_namespace: bool = False
    rows: list[RunTerms] = field(default_factory=list)
    look: list[int] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    workflows: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finished: list[datetime] = field(default_factory=list)
    _index: dict[RunTerms, int] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.uids)

    def __contains__(self, uid: object) -> bool:
        return uid in self._known

    def position(self, uid: str) -> int:
        """Return where a run is. Raises KeyError if it is not known."""
        return self._known[uid]

    def extend(self, runs: Iterable[RunLike]) -> list[int]:
        """Add finished runs; return their positions. A run that is known is replaced where it is."""
        touched = []
        for run in runs:
            if run.finished_at is None:
                continue
            at = self._known.get(run.uid)
            if at is None:
                at = self._known[run.uid] = len(self.uids)
                self._append(run, run.finished_at)
            else:
                self._replace(at, run, run.finished_at)
            touched.append(at)
        return touched

    def _look_of(self, run: RunLike) -> int:
        terms = terms_of(run, with_namespace=self.with_namespace)
        look = self._index.get(terms)
        if look is None:
            look = self._index[terms] = len(self.rows)
            self.rows.append(terms)
        return look

    def _append(self, run: RunLike, finished: datetime) -> None:
        self.look.append(self._look_of(run))
        self.uids.append(run.uid)
        self.namespaces.append(sys.intern(run.namespace))
        self.names.append(run.name)
        self.workflows.append(sys.intern(run.workflow))
        self.verdicts.append(sys.intern(run.verdict or ""))
        self.seconds.append(known_seconds(run.duration_seconds))
        self.finished.append(finished)

    def _replace(self, at: int, run: RunLike, finished: datetime) -> None:
        self.look[at] = self._look_of(run)
        self.verdicts[at] = sys.intern(run.verdict or "")
        self.seconds[at] = known_seconds(run.duration_seconds)
        self.finished[at] = finished

    def weights(self) -> NDArray[np.int64]:
        """Return how many runs have each row: shape (rows,)."""
        return np.bincount(np.asarray(self.look, dtype=np.int64), minlength=len(self.rows))
