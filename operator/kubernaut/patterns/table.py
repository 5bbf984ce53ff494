"""The finished runs that discovery knows, by column, with equal looks stored once (about 0.4 KB a run).

A run that a step of another started for the same target is no incident of its own: counted beside the other, one
incident would support its pattern twice, and make its interval too narrow. It is a part of the other, whose verdict
counts. One for another target is an incident of its own, as when one run finds all that ails and has each repaired.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kubernaut.patterns.terms import RunLike, RunTerms, known_seconds, terms_of, with_parts


@dataclass
class RunTable:
    """Columns of runs in the order they were added; ``look[i]`` is the index in ``rows`` of run i's terms.

    Parts of runs have no columns. Those whose run is not here yet wait for it: they end before it does.
    """

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
    targets: list[str] = field(default_factory=list)
    _index: dict[RunTerms, int] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)
    _part_of: dict[str, int] = field(default_factory=dict)
    _parts: dict[int, dict[str, tuple[datetime, RunTerms]]] = field(default_factory=dict)
    _own: dict[int, RunTerms] = field(default_factory=dict)
    _waiting: dict[str, dict[str, RunLike]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.uids)

    def __contains__(self, uid: object) -> bool:
        return uid in self._known

    def position(self, uid: str) -> int:
        """Return where a run is. Raises KeyError if it is not known."""
        return self._known[uid]

    def extend(self, runs: Iterable[RunLike]) -> list[int]:
        """Add finished runs; return the positions they changed. A run that is known is replaced where it is."""
        touched: dict[int, None] = {}
        for run in runs:
            if run.finished_at is not None:
                self._add(run, touched)
        for at in touched:
            parts = sorted(self._parts.get(at, {}).items(), key=lambda part: (part[1][0], part[0]))
            if parts:
                whole = with_parts(self._own[at], (terms for _, (_, terms) in parts))
                self.look[at] = self._look_of(whole)
        return list(touched)

    def _add(self, run: RunLike, touched: dict[int, None]) -> None:
        """Add a run, and those that waited for it."""
        todo = [run]
        while todo:
            one = todo.pop()
            at = self._position_for(one)
            if at is not None:
                touched[at] = None
                todo.extend(self._waiting.pop(one.uid, {}).values())

    def _position_for(self, run: RunLike) -> int | None:
        """Store a run; return the position it counts at, or None where it waits."""
        assert run.finished_at is not None
        terms = terms_of(run, with_namespace=self.with_namespace)
        at = self._known.get(run.uid)
        if at is not None:
            self._replace(at, run, run.finished_at, terms)
            return at
        within = self._part_of.get(run.uid)
        if within is None and run.parent_uid:
            within = self._known.get(run.parent_uid, self._part_of.get(run.parent_uid))
            if within is None:
                self._waiting.setdefault(run.parent_uid, {})[run.uid] = run
                return None
            # Whoever may create runs may say anything of who started them.
            same = run.namespace == self.namespaces[within]
            if not same or (run.target_uid or "") not in ("", self.targets[within]):
                within = None
        if within is None:
            at = self._known[run.uid] = len(self.uids)
            self._append(run, run.finished_at, terms)
            return at
        self._part_of[run.uid] = within
        self._own.setdefault(within, self.rows[self.look[within]])
        self._parts.setdefault(within, {})[run.uid] = (run.created_at, terms)
        return within

    def _look_of(self, terms: RunTerms) -> int:
        look = self._index.get(terms)
        if look is None:
            look = self._index[terms] = len(self.rows)
            self.rows.append(terms)
        return look

    def _append(self, run: RunLike, finished: datetime, terms: RunTerms) -> None:
        self.look.append(self._look_of(terms))
        self.uids.append(run.uid)
        self.namespaces.append(sys.intern(run.namespace))
        self.names.append(run.name)
        self.workflows.append(sys.intern(run.workflow))
        self.verdicts.append(sys.intern(run.verdict or ""))
        self.seconds.append(known_seconds(run.duration_seconds))
        self.finished.append(finished)
        self.targets.append(run.target_uid or "")

    def _replace(self, at: int, run: RunLike, finished: datetime, terms: RunTerms) -> None:
        if at in self._own:
            self._own[at] = terms
        self.look[at] = self._look_of(terms)
        self.verdicts[at] = sys.intern(run.verdict or "")
        self.seconds[at] = known_seconds(run.duration_seconds)
        self.finished[at] = finished

    def weights(self) -> NDArray[np.int64]:
        """Return how many runs have each row: shape (rows,)."""
        return np.bincount(np.asarray(self.look, dtype=np.int64), minlength=len(self.rows))
