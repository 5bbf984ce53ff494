"""What an attempt is that only the running operator decides: a story played in a namespace, and its allowed twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from e2e.feed import Manifest
from e2e.world import REPAIR, Place, Run, condition, execution, steps

LINT: Final = "lint"
ENGINE: Final = "engine"

#: plays it under a name of its own, and returns by what words it was refused; empty where it was not
Play = Callable[[Place, str], str]


@dataclass(frozen=True)
class Played:
    """One attempt.

    Attributes:
        of: its class.
        what: what is attempted, in words.
        refused_by: who has to refuse it: lint, where the Workflow is not Ready; engine, where its run is refused.
        says: part of the words of the refusal.
        mighty: whether the account may do everything in the cluster, so that no other refusal comes first.
    """

    of: str
    what: str
    refused_by: str
    says: str
    attempt: Play
    twin: Play
    mighty: bool = True

    def __str__(self) -> str:
        return f"{self.of}: {self.what}"


@dataclass(frozen=True)
class Flow:
    """A Workflow, and what a run gives to it."""

    steps: tuple[Manifest, ...]
    spec: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def declared(self, place: Place, name: str) -> str:
        """Write the Workflow; return why it is not ready, empty where it is."""
        manifest = {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": REPAIR,
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "steps": list(self.steps),
                **self.spec,
            },
        }
        place.create("Workflow", manifest)
        found = place.world.workflows.wait(
            (place.namespace, name), lambda w: bool(condition(w, "Ready")), "the Workflow was looked at"
        )
        told = condition(found, "Ready")
        return "" if told["status"] == "True" else f"{told['reason']}: {told['message']}"

    def started(self, place: Place, name: str, **spec: Any) -> Run:
        """Write the Workflow and start a run of it."""
        assert self.declared(place, name) == ""
        body = execution(place.namespace, name, name, self.given)
        body["spec"].update(spec)
        return Run(place, place.create("WorkflowExecution", body))


def flow(*steps_: Manifest, given: Mapping[str, str] | None = None, **spec: Any) -> Flow:
    """Return a flow; ``parameters`` that are only names are optional strings."""
    names = spec.pop("parameters", ())
    declared = [{"name": one} if isinstance(one, str) else one for one in names]
    return Flow(steps_, {**spec, "parameters": declared}, given or {})


def linted(one: Flow) -> Play:
    """Play a Workflow that is written and not run."""
    return one.declared


def run(one: Flow) -> Play:
    """Play a Workflow that is written and run once."""

    def play(place: Place, name: str) -> str:
        return outcome(one.started(place, name).end())

    return play


def outcome(status: Manifest) -> str:
    """Return why a run did not succeed; empty where it did."""
    if status["phase"] == "Succeeded":
        return ""
    records = [one for one in steps(status).values() if one["phase"] == "Failed"]
    told = [f"{one.get('reason')}: {one.get('message')}" for one in (status, *records)]
    return "; ".join(told)
