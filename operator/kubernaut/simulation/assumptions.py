"""What a simulation takes for granted, because it can't be known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Assumptions:
    """Sentences, each said once, in the order in which they were needed."""

    _said: dict[str, None] = field(default_factory=dict)

    def say(self, sentence: str) -> None:
        """Assume something."""
        self._said[sentence] = None

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self._said)
