"""Checks one Workflow as written: its fields first, then its plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ValidationError

from kubernaut.api.guards import GitOpsMode
from kubernaut.api.names import API_VERSION, GROUP, SWITCH_CONFIGMAP
from kubernaut.api.reasons import REASONS, Reason
from kubernaut.api.workflow import Workflow
from kubernaut.cli.lifecycle import LIFECYCLES
from kubernaut.cli.lint.documents import Document, NotYaml, read
from kubernaut.cli.lint.fields import describe, path_of
from kubernaut.cli.lint.resources import held_around
from kubernaut.cli.lint.windows import short_windows
from kubernaut.cluster.levels import levels_of
from kubernaut.core.compiling import compile_plan
from kubernaut.core.plan import Catalogue, PlanInvalid
from kubernaut.core.rights import PAUSES

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: where (file, line from 1, object, field path), what, and how to mend it."""

    file: str
    line: int
    object: str
    reason: str
    path: str
    message: str
    fix: str

    def wire(self) -> dict[str, Any]:
        """Return the finding for programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of some files: the Workflows checked, what was skipped, what is wrong, what is worth knowing."""

    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def plus(self, other: Report) -> Report:
        """Return both reports as one."""
        return Report(
            self.checked + other.checked,
            self.skipped + other.skipped,
            self.findings + other.findings,
            self.notes + other.notes,
        )

    def wire(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "checked": list(self.checked),
            "skipped": list(self.skipped),
            "problems": [finding.wire() for finding in self.findings],
            "notes": list(self.notes),
        }


def check_text(text: str, source: str, catalogue: Catalogue) -> Report:
    """Check every Workflow in a text."""
    try:
        documents = read(text, source)
    except NotYaml as error:
        return Report(findings=(_not_yaml(source, error, text),))
    if not documents:
        fix = "Write a Workflow into it; `kubernaut lint --help` shows what is read."
        return Report(findings=(Finding(source, 1, "", "Empty", "", "the file holds no object.", fix),))
    report = Report()
    for document in documents:
        report = report.plus(check(document, catalogue))
    return report


def workflows(documents: Iterable[Document]) -> list[Workflow]:
    """Return the Workflows among documents that were checked and have no findings."""
    return [Workflow.model_validate(one.data) for one in documents if is_workflow(one.data)]


def is_workflow(data: Any) -> bool:
    """Whether a document is a Workflow of ours, of whatever version."""
    if not isinstance(data, dict):
        return False
    kind, version = str(data.get("kind") or ""), str(data.get("apiVersion") or "")
    return kind == "Workflow" and version.split("/")[0] == GROUP


def check(document: Document, catalogue: Catalogue) -> Report:
    """Check one document; what is no Workflow of ours is skipped."""
    data = document.data
    if not isinstance(data, dict):
        message = f"this document is a {type(data).__name__}, not an object with apiVersion and kind."
        return Report(findings=(_finding(document, "", "", message),))
    kind, version = str(data.get("kind") or ""), str(data.get("apiVersion") or "")
    meta = data.get("metadata")
    name = str(meta.get("name") or "") if isinstance(meta, dict) else ""
    known = f"{kind or 'object without kind'} {name}".strip()
    if not kind or not version:
        return Report(findings=(_finding(document, known, "", "apiVersion and kind are required."),))
    if (version, kind, name) == ("v1", "ConfigMap", SWITCH_CONFIGMAP):
        return Report((known,), (), tuple(_levels(document, known)))
    if not is_workflow(data):
        where = f"{document.source}:{document.line()}"
        return Report(skipped=(f"{where}: {version} {known} is no Workflow of {API_VERSION}",))
    found = _named(document, known) + _modelled(document, known, catalogue)
    return Report(
        (known,),
        (),
        tuple(sorted(found, key=lambda finding: finding.line)),
        _life(document, known) + _pauses(document, known) + _notes(document, known),
    )


def _levels(document: Document, known: str) -> list[Finding]:
    """Check the guards of the cluster and its namespaces."""
    data = document.data.get("data")
    entries = {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}
    return [
        Finding(
            document.source,
            document.line_of_key("data", key),
            known,
            Reason.GUARDS_INVALID.value,
            f"data.{key}",
            f"{level.problem}.",
            REASONS[Reason.GUARDS_INVALID].fix,
        )
        for key, level in levels_of(entries).items()
        if level.problem
    ]


def _life(document: Document, known: str) -> tuple[str, ...]:
    """Say what a Workflow that is not active is good for."""
    spec = document.data.get("spec")
    said = spec.get("lifecycle") if isinstance(spec, dict) else None
    told = LIFECYCLES.get(said) if isinstance(said, str) else None
    return (f"{document.source}:{document.line('spec.lifecycle')}: {known} is {told}",) if told else ()


def _pauses(document: Document, known: str) -> tuple[str, ...]:
    """Say what pausing a sync needs beside what the steps need, and where it is declared in vain."""
    spec = document.data.get("spec")
    guards = spec.get("guards") if isinstance(spec, dict) else None
    if not isinstance(guards, dict):
        return ()
    if guards.get("gitOps") == GitOpsMode.PAUSE_SYNC.value:
        return (f"{document.source}:{document.line('spec.guards.gitOps')}: {known}: {PAUSES}",)
    if "pauseSync" in guards:
        where = f"{document.source}:{document.line('spec.guards.pauseSync')}"
        return (
            f"{where}: {known}: pauseSync does nothing unless gitOps, here or at a wider level, is PauseSync",
        )
    return ()


def _notes(document: Document, known: str) -> tuple[str, ...]:
    """Say what is allowed, and seldom meant: too short windows, and steps that wait for what is held around them."""
    try:
        spec = Workflow.model_validate(document.data).spec
    except ValidationError:
        return ()
    return (*short_windows(document, known, spec.verify), *held_around(document, known, spec))


def _named(document: Document, known: str) -> list[Finding]:
    meta = document.data.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = meta.get("name")
    if not name and not meta.get("generateName"):
        return [_finding(document, known, "metadata.name", "is required.")]
    if name and (len(str(name)) > 253 or not _NAME.fullmatch(str(name))):
        message = f"{name!r} is no name for an object: use lower-case letters, digits, - and . only."
        return [_finding(document, known, "metadata.name", message)]
    return []


def _modelled(document: Document, known: str, catalogue: Catalogue) -> list[Finding]:
    try:
        workflow = Workflow.model_validate(document.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_finding(document, known, path_of(d["loc"]), describe(Workflow, d)) for d in details]
    return _planned(document, known, workflow, catalogue)


def _planned(document: Document, known: str, workflow: Workflow, catalogue: Catalogue) -> list[Finding]:
    try:
        compile_plan(workflow.spec, catalogue)
    except PlanInvalid as invalid:
        return [_finding(document, known, p.path, p.message, p.reason) for p in invalid.problems]
    return []


def _finding(
    document: Document, known: str, path: str, message: str, reason: Reason = Reason.INVALID_SPEC
) -> Finding:
    line = document.line(path)
    return Finding(document.source, line, known, reason.value, path, message, REASONS[reason].fix)


def _not_yaml(source: str, error: NotYaml, text: str) -> Finding:
    fix = "Correct the YAML at this line."
    if "{{" in text:
        fix = "This looks like a template: render it first, as in `helm template ... | kubernaut lint -`."
    return Finding(source, error.line, "", "NotYaml", "", f"this is not YAML: {error}.", fix)
