"""What whoever can make an alert fire may make of it: labels are texts, whatever is written in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from e2e.alerting import Teller, alert
from e2e.feed import Manifest
from e2e.websteps import acting, note
from e2e.world import Place, Run, steps
from escalation.played.story import Flow, flow, outcome

LABELS: Final = "expression injection by alert labels"
WORD: Final = "=alert.labels.word"


@dataclass(frozen=True)
class Alerted:
    """One attempt: an alert's label ``word``, what has to be said of it, and the label of the twin.

    Attributes:
        seen: returns from how the run ended why it came to nothing; empty where it did not.
    """

    what: str
    one: Flow
    word: str
    says: str
    twin: str
    seen: Callable[[Place, Manifest, str], str]
    of: str = LABELS
    refused_by: str = "engine"

    def __str__(self) -> str:
        return f"{self.of}: {self.what}"

    def played(self, teller: Teller, place: Place, name: str, word: str) -> str:
        """Have an alert start a run; return why it came to nothing, empty where it did not."""
        given: dict[str, Any] = {"parameters": {"word": WORD}, "alert": {"matchLabels": {"alertname": name}}}
        declared = Flow(self.one.steps, {**self.one.spec, "triggers": [given]})
        assert declared.declared(place, name) == ""
        told = alert(name, namespace=place.namespace, word=word)
        answer = teller.tell(told)
        if answer["alerts"] != {"started": 1}:
            return f"{answer['alerts']}: {'; '.join(answer.get('problems') or ())}"
        (made,) = (
            one for one in place.list("WorkflowExecution") if one["spec"]["workflowRef"]["name"] == name
        )
        run = Run(place, made)
        run.wait(_over, "its step is over")
        # A run that an alert started helped only where the alert is resolved.
        teller.tell({**told, "status": "resolved", "endsAt": datetime.now(UTC).isoformat()})
        return self.seen(place, run.end(), word)


def _over(run: Manifest) -> bool:
    status = run.get("status") or {}
    record = steps(status).get("act") or {}
    return "finishedAt" in status or record.get("phase") in ("Succeeded", "Skipped", "Failed")


def _as_text(place: Place, status: Manifest, word: str) -> str:
    """Whether the annotation that a step wrote is the label, letter by letter."""
    found = place.get("Deployment", "web")["metadata"]["annotations"].get("word")
    if found != word:
        return outcome(status) or f"it was evaluated: {found}"
    return "taken as a text" if word.startswith(("=", "$", "{")) or "\n" in word else ""


def _ended(place: Place, status: Manifest, word: str) -> str:
    return outcome(status)


def _skipped(place: Place, status: Manifest, word: str) -> str:
    return "" if steps(status)["act"]["phase"] == "Succeeded" else "the condition does not hold"


_TEXTS: Final = flow(
    acting("act", patch={"metadata": {"annotations": {"word": "=params.word"}}}), parameters=["word"]
)
_NAMED: Final = flow(
    {
        "name": "act",
        "action": "patch_resource",
        "with": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "=params.word",
            "patch": {"metadata": {"labels": {"a": "b"}}},
        },
    },
    parameters=["word"],
)
_KIND: Final = flow(
    {
        "name": "act",
        "action": "patch_resource",
        "with": {
            "apiVersion": "v1",
            "kind": "=params.word",
            "name": "settings",
            "patch": {"metadata": {"labels": {"a": "b"}}},
        },
    },
    parameters=["word"],
)
_TARGET: Final = flow(
    note("act"),
    parameters=["word"],
    target={"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.word"},
)
_COUNT: Final = flow(
    {"name": "act", "action": "scale_deployment", "with": {"replicas": "=params.word"}},
    parameters=[{"name": "word", "type": "integer", "required": True}],
)
_WHEN: Final = flow(note("act", when="params.word == 'admin'"), parameters=["word"])

ROWS: list[Alerted] = [
    *(
        Alerted(f"is {what}", _TEXTS, word, "taken as a text", "plain", _as_text)
        for what, word in {
            "an expression": "=run.uid",
            "an escaped expression": "==run.uid",
            "an expression on the target": "=target.spec.template",
            "a template of shells": "${HOME} $(id)",
            "a template of Helm": "{{ .Values.password }}",
            "YAML": "x\nspec: {replicas: 0}",
        }.items()
    ),
    *(
        Alerted(f"names an object {word!r}", _NAMED, word, "InvalidParameters", "settings", _ended)
        for word in ("../secrets/bank", "settings/status", "settings?dryRun=All")
    ),
    Alerted("names the stop switch", _NAMED, "kubernaut-switch", "Kubernaut's own", "settings", _ended),
    *(
        Alerted(f"names the kind {word}", _KIND, word, "is not touched by a step", "ConfigMap", _ended)
        # A third bad end would open the breaker, and have a person asked.
        for word in ("Secret", "ServiceAccount")
    ),
    *(
        Alerted(f"names a target {word!r}", _TARGET, word, "can't be", "web", _ended)
        for word in ("../secrets/bank", "web?x=1")
    ),
    *(
        Alerted(f"gives {word!r} for a number", _COUNT, word, "is not of type integer", "1", _ended)
        for word in ("1; 2", "=1")
    ),
    *(
        Alerted(f"closes the quotes of a condition: {word}", _WHEN, word, "does not hold", "admin", _skipped)
        for word in ("' || true || '", "admin' || 'a' == 'a")
    ),
]
