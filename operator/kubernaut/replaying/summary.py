"""The results of a replay as they come in, counted: memory is bounded, however many runs there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from kubernaut.replaying.recorded import Result
from kubernaut.replaying.replay import OTHERWISE, SAME, UNKNOWN

_MOST_REASONS: Final = 1_000
_MORE: Final = ("More", "further reasons")


@dataclass
class Summary:
    """What a replay said so far.

    Args:
        limit: of how many runs all is kept that would have gone otherwise.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    kept: list[Result] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """How many runs were replayed."""
        return sum(self.counts.values())

    @property
    def otherwise(self) -> int:
        """How many of them would have gone otherwise."""
        return self.counts[OTHERWISE]

    def add(self, result: Result) -> None:
        """Count one result."""
        self.counts[result.verdict] += 1
        if result.verdict == OTHERWISE:
            for key in {(one.kind, one.what) for one in result.differences}:
                known = key in self.reasons or len(self.reasons) < _MOST_REASONS
                self.reasons[key if known else _MORE] += 1
            if len(self.kept) < self.limit:
                self.kept.append(result)
        elif result.verdict == UNKNOWN:
            known = result.unknown in self.unknown or len(self.unknown) < _MOST_REASONS
            self.unknown[result.unknown if known else _MORE[1]] += 1

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "summary": {
                "runs": self.runs,
                "same": self.counts[SAME],
                "otherwise": self.otherwise,
                "unknown": self.counts[UNKNOWN],
            },
            "reasons": [
                {"kind": kind, "what": what, "runs": runs}
                for (kind, what), runs in self.reasons.most_common()
            ],
            "notRecorded": [{"what": what, "runs": runs} for what, runs in self.unknown.most_common()],
            "otherwise": [one.wire() for one in self.kept],
            "notListed": self.otherwise - len(self.kept),
        }
