"""What a run gave and changed, or would change; how it is about to end."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from kubernaut.api.execution import RunPhase, WorkflowExecution
from kubernaut.cli.text import line, safe

_DRY_RUN = "dry run: the API server checks each change and stores none"


def mode(run: WorkflowExecution) -> str:
    """Return that a run is a dry run, or nothing."""
    return _DRY_RUN if run.spec.dry_run else ""


def ending(run: WorkflowExecution) -> str:
    """Return how a run will end once its steps under finally are done, while they run."""
    if run.status is None or run.status.phase is not RunPhase.FINALIZING or run.status.outcome is None:
        return ""
    return f"ends as {run.status.outcome.value} once the steps under finally are done"


def changed(run: WorkflowExecution) -> RenderableType:
    """Return what the steps changed, a sentence each; of a dry run what they would change, clearly said."""
    found = [
        f"  {line(record.name)}: {line(sentence)}"
        for record in (run.status.steps if run.status else ())
        for sentence in record.changed or ()
    ]
    if not run.spec.dry_run:
        head = "Changed:" if found else "Nothing was changed."
    else:
        head = "Dry run, nothing was changed. " + (
            "A real run would change:" if found else "A real run would change nothing."
        )
    return Group(Text(head, "bold"), *(safe(text) for text in found))


def relatives(run: WorkflowExecution) -> list[tuple[str, str]]:
    """Return the runs that this one has to do with: whose steps it took over, who started it, whom it started."""
    pairs: list[tuple[str, str]] = []
    if run.spec.retry_from is not None:
        pairs.append(("Retry of", f"run {run.spec.retry_from.name}, from where it failed"))
    if run.spec.parent is not None:
        pairs.append(("Started by", f"run {run.spec.parent.name}, step {run.spec.parent.step}"))
    for record in run.status.steps if run.status else ():
        name = (record.intent or {}).get("run") or (record.outputs or {}).get("run")
        if isinstance(name, str):
            told = f", {record.progress}" if record.progress else ""
            pairs.append(("Started", f"run {name} (step {record.name}{told})"))
    return [(name, line(text)) for name, text in pairs]


def outputs(run: WorkflowExecution) -> list[tuple[str, str]]:
    """Return the outputs of the run as a whole."""
    given = run.status.outputs if run.status else None
    return [(line(name), short_json(value)) for name, value in (given or {}).items()]


def short_json(value: Any, room: int = 400) -> str:
    """Return a value as JSON (a text as it is), cut to some length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= room else f"{text[: room - 3]}..."
