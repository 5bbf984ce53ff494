"""What is told of one wait: as data, as words, and under which key. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from kubernaut.api.execution import Remedy
from kubernaut.core.asking import Asked, Asks


class Event(StrEnum):
    """What is told: that a run waits, that it still does, that it does no more."""

    ASKED = "Asked"
    REMINDER = "Reminder"
    RESOLVED = "Resolved"


@dataclass(frozen=True, slots=True)
class Subject:
    """The run that is told of; ``target`` is as in ``Deployment web``."""

    namespace: str
    run: str
    uid: str
    workflow: str
    target: str


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell.

    Attributes:
        id: what tells the wait apart, the same in all its messages.
        number: of a reminder, counted from 1.
        became: what became of the question, in words; of a resolved one.
        link: where to look, or nothing.
    """

    event: Event
    id: str
    subject: Subject
    asked: Asked
    number: int = 0
    became: str = ""
    link: str = ""

    @property
    def key(self) -> str:
        """What a receiver knows a repetition by."""
        if self.event is Event.REMINDER:
            return f"{self.id}/reminder-{self.number}"
        return f"{self.id}/resolved" if self.event is Event.RESOLVED else self.id

    @property
    def title(self) -> str:
        """A line that says it all but for the details."""
        subject = self.subject
        what = "Decision" if self.asked.asks is Asks.REMEDY else "Approval"
        head = {
            Event.ASKED: f"{what} wanted",
            Event.REMINDER: f"{what} still wanted",
            Event.RESOLVED: f"{what} no longer wanted",
        }[self.event]
        on = f" on {subject.target}" if subject.target else ""
        return f"{head}: {subject.workflow}{on} in {subject.namespace} (run {subject.run})"

    @property
    def commands(self) -> dict[str, str]:
        """The commands that answer, by what they say."""
        if self.event is Event.RESOLVED:
            return {}
        run, step, space = (
            shlex.quote(text) for text in (self.subject.run, self.asked.step, self.subject.namespace)
        )
        if self.asked.asks is Asks.REMEDY:
            return {
                one.value.lower(): f"kubectl kubernaut remedy {run} {step} {one.value.lower()} -n {space}"
                for one in Remedy
            }
        return {
            "approve": f"kubectl kubernaut approve {run} {step} -n {space}",
            "deny": f'kubectl kubernaut deny {run} {step} -n {space} --reason "..."',
        }

    def facts(self) -> list[tuple[str, str]]:
        """Return names and values for people, in the order in which they are read."""
        asked = self.asked
        found = [
            ("Run", f"{self.subject.namespace}/{self.subject.run}"),
            ("Workflow", self.subject.workflow),
            ("Target", self.subject.target),
            ("Step", asked.step),
            ("Question", asked.question),
            ("Why", asked.why),
            ("Became", self.became),
            ("Since", _time(asked.since)),
        ]
        if self.event is not Event.RESOLVED:
            silence = (
                "the run has then taken too long" if asked.asks is Asks.REMEDY else "silence is a denial"
            )
            found.append(("Until", f"{_time(asked.until)} ({silence})"))
            found.append(("You may set", ", ".join(asked.may_set)))
        found.append(("Link", self.link))
        return [(name, value) for name, value in found if value]

    def text(self) -> str:
        """Return it in plain words."""
        lines = [self.title, "", *(f"{name}: {value}" for name, value in self.facts())]
        if self.event is not Event.RESOLVED:
            if self.asked.effects:
                lines += ["", "What would be done:", *(f"  - {effect}" for effect in self.asked.effects)]
            lines += ["", "To answer:", *(f"  {command}" for command in self.commands.values())]
        return "\n".join(lines) + "\n"

    def data(self) -> dict[str, Any]:
        """Return it for programs."""
        asked, subject = self.asked, self.subject
        found: dict[str, Any] = {
            "type": "kubernaut.io/approval",
            "event": self.event.value,
            "id": self.id,
            "text": self.title,
            "run": {"namespace": subject.namespace, "name": subject.run, "uid": subject.uid},
            "workflow": subject.workflow,
            "target": subject.target,
            "asks": asked.asks.value,
            "step": asked.step,
            "attempt": asked.attempt,
            "question": asked.question,
            "why": asked.why,
            "since": _time(asked.since),
            "until": _time(asked.until),
        }
        if self.event is Event.RESOLVED:
            found["became"] = self.became
        else:
            found |= {
                "effects": list(asked.effects),
                "maySet": list(asked.may_set),
                "commands": self.commands,
                "reminder": self.number,
            }
        return found | ({"link": self.link} if self.link else {})


def link_of(template: str, subject: Subject, step: str) -> str:
    """Return the link that a template makes of a wait; nothing where there is no template."""
    values: Mapping[str, str] = {
        "namespace": subject.namespace,
        "run": subject.run,
        "uid": subject.uid,
        "workflow": subject.workflow,
        "step": step,
    }
    return template.format_map({name: quote(value, safe="") for name, value in values.items()})


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
