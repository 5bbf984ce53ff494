"""Changes that a run proposed instead of making them, as manifests to copy."""

from __future__ import annotations

from rich.text import Text

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.reasons import Reason
from kubernaut.cli.text import line, safe

PROPOSAL = "proposal"


def proposals(run: WorkflowExecution) -> list[Text]:
    """Return each proposal: whose the object is, and the manifest, line by line as it is."""
    found: list[Text] = []
    for record in run.status.steps if run.status is not None else ():
        outputs = record.outputs or {}
        manifest = outputs.get(PROPOSAL)
        if record.reason != Reason.PROPOSED or not isinstance(manifest, str):
            continue
        found.append(
            safe(line(f"{record.name}: for {outputs.get('owner')}, which has {outputs.get('object')}"))
        )
        found += [safe(f"  {text}") for text in manifest.splitlines()]
    return found
