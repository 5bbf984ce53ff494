"""What a task works on, for all that it logs: apart from how lines are formatted, which only the operator needs."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class About:
    """The object that a task works on; ``step`` is the step of a run, where it is with one."""

    kind: str
    namespace: str
    name: str
    uid: str
    step: str = ""


_about: ContextVar[About | None] = ContextVar("about", default=None)


def speak_of(about: About | None) -> Token[About | None]:
    """Have all that this task logs from now on, and tasks that it begins, name an object."""
    return _about.set(about)


def speak_of_step(step: str) -> None:
    """Have all that this task logs from now on name a step of the run it works on."""
    about = _about.get()
    if about is not None:
        _about.set(replace(about, step=step))


def spoken_of() -> About | None:
    """Return the object that this task works on."""
    return _about.get()
