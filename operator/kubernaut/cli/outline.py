"""A run beside its Workflow: which steps there are, and what became of each so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import StepPhase, StepStatus, WorkflowExecution
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.steps import Approval, OnFailure
from kubernaut.api.workflow import Step, WorkflowSpec

FINALLY: Final = "finally"
ALTERNATE: Final = "alternate"
_DONE: Final = (StepPhase.SUCCEEDED, StepPhase.SKIPPED)


@dataclass(frozen=True, slots=True)
class Row:
    """One step: its record (an empty one where it has not begun) and what it does in a few words.

    Attributes:
        spec: the step as declared, where that is known.
        section: the stage it belongs to, counted from 1; or finally, or alternate; empty where not known.
        depth: 0 for a step of the Workflow itself, one more for each step around it.
        parent: the path of the step around it.
        run: the run that it is a step of, where that is another one than the run shown.
    """

    record: StepStatus
    does: str = ""
    needs: tuple[str, ...] = ()
    spec: Step | None = None
    section: str = ""
    depth: int = 0
    parent: str = ""
    run: str = ""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def short(self) -> str:
        """The name as it is told below the step around it."""
        return self.name.removeprefix(f"{self.parent}/") if self.parent else self.name


def spec_of(data: Mapping[str, Any] | None) -> WorkflowSpec | None:
    """Return the Workflow's spec from a snapshot's data; None where it can't be read."""
    if not data:
        return None
    try:
        return WorkflowSpec.model_validate(data, extra="ignore")
    except ValueError:
        return None


def rows(run: WorkflowExecution, spec: WorkflowSpec | None) -> list[Row]:
    """Return the steps stage by stage, each followed by those within it; those only the run knows of come last."""
    records = {record.name: record for record in (run.status.steps if run.status else [])}
    found = list(_Unfolding(spec, records).rows()) if spec else []
    known = {row.name for row in found}
    return found + [_unknown(record, known) for record in records.values() if record.name not in known]


def stages(steps: Sequence[Step]) -> dict[str, int]:
    """Return for each step how many steps there are at most on a way to it, itself included: its level in the DAG."""
    needs = {step.name: list(step.depends_on) for step in steps}
    levels: dict[str, int] = {}
    for name in needs:
        # Not by recursion: a chain may be a thousand steps long.
        todo = [name]
        while todo:
            at = todo[-1]
            missing = [need for need in needs[at] if need in needs and need not in levels]
            if at in levels or set(missing) & set(todo):
                levels.setdefault(at, 1)
                todo.pop()
            elif missing:
                todo += missing
            else:
                levels[at] = 1 + max((levels[need] for need in needs[at] if need in levels), default=0)
                todo.pop()
    return levels


class _Unfolding:
    """The steps of a Workflow as far as its run tells which branches were taken and which items there are."""

    def __init__(self, spec: WorkflowSpec, records: Mapping[str, StepStatus]) -> None:
        self._spec = spec
        self._records = records
        self._templates = {template.name: template.steps for template in spec.templates}

    def rows(self) -> Iterator[Row]:
        levels = stages(self._spec.steps)
        for step in sorted(self._spec.steps, key=lambda one: levels[one.name]):
            yield from self._step(
                step, step.name, Row(StepStatus(name=step.name), section=str(levels[step.name]))
            )
        if self._spec.alternate and ALTERNATE in self._records:
            yield from self._group(
                ALTERNATE, self._spec.alternate, Row(StepStatus(name=ALTERNATE), section=ALTERNATE)
            )
        for step in self._spec.finally_:
            path = f"{FINALLY}/{step.name}"
            place = Row(StepStatus(name=path), section=FINALLY, parent=FINALLY)
            yield from self._step(step, path, place)

    def _step(self, step: Step, path: str, place: Row, item: str = "") -> Iterator[Row]:
        record = self._records.get(path, place.record)
        told = " ".join(filter(None, (does(step, record), item)))
        row = replace(place, record=record, does=told, needs=tuple(step.depends_on), spec=step)
        yield row
        inner = replace(row, depth=row.depth + 1, parent=path, does="", needs=(), spec=None)
        if step.switch and record.branch:
            taken = next((case.template for case in step.switch.cases if case.name == record.branch), None)
            yield from self._body(taken or step.switch.default, f"{path}/{record.branch}", inner)
        if step.for_each:
            items = (record.outputs or {}).get("items")
            for index, one in enumerate(items if isinstance(items, list) else ()):
                yield from self._body(step.for_each.template, f"{path}/{index}", inner, label(one))
        if step.alternate and f"{path}/{ALTERNATE}" in self._records:
            yield from self._group(f"{path}/{ALTERNATE}", step.alternate, inner)

    def _group(self, path: str, template: str, place: Row) -> Iterator[Row]:
        """Yield an alternate and what it consists of."""
        record = self._records[path]
        row = replace(place, record=record, does=f"instead: {template}")
        yield row
        yield from self._body(template, path, replace(row, depth=row.depth + 1, parent=path, does=""))

    def _body(self, template: str | None, path: str, place: Row, item: str = "") -> Iterator[Row]:
        for step in self._templates.get(template or "", ()):
            full = f"{path}/{step.name}"
            yield from self._step(step, full, replace(place, record=StepStatus(name=full)), item)


def _unknown(record: StepStatus, known: set[str]) -> Row:
    """Return a step that only the run knows of: below the nearest step that its path names."""
    if record.name == GUARD_APPROVAL:
        # Guards ask in a step of their own, which no Workflow declares.
        question = Step(name="approval", approval=Approval(message=(record.message or "")[:1024]))
        return Row(record, does="approval", spec=question)
    parts = record.name.split("/")
    parents = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    parent = next((path for path in parents if path in known), "")
    known.add(record.name)
    section = parts[0] if len(parts) > 1 and parts[0] in (FINALLY, ALTERNATE) else ""
    return Row(record, section=section, depth=1 if parent else 0, parent=parent)


def label(item: Any) -> str:
    """Return what an item of a forEach is called: an object's name, else its text, cut short."""
    named = item.get("name") if isinstance(item, Mapping) else None
    text = str(named if named is not None else item)
    return text if len(text) <= 40 else f"{text[:39]}…"


def does(step: Step, record: StepStatus | None = None) -> str:
    """Return the action's name, or in a few words what a step without one does."""
    if step.action:
        return step.action
    if step.wait and step.wait.duration is not None:
        return f"wait {format_duration(step.wait.duration)}"
    if step.wait:
        return f"wait until {step.wait.until}"
    if step.workflow:
        return f"workflow {step.workflow.name}"
    if step.switch:
        branch = record.branch if record else None
        cases = [*(case.name for case in step.switch.cases), *(["default"] if step.switch.default else [])]
        return f"switch: {branch} of {len(cases)}" if branch else f"switch: {' or '.join(cases)}"
    if step.for_each:
        items = (record.outputs or {}).get("items") if record else None
        return f"for each of {len(items)}" if isinstance(items, list) else "for each item"
    return "approval"


def is_approval(row: Row) -> bool:
    """Whether a step asks a person; by its words where the declaration is not known."""
    return row.spec.approval is not None if row.spec else row.does == "approval"


def waits_for_answer(row: Row) -> bool:
    """Whether an approval was asked and is not answered yet."""
    return is_approval(row) and row.record.phase in (StepPhase.WAITING, StepPhase.RUNNING)


def needs_remedy(run: WorkflowExecution, steps: Sequence[Row], spec: WorkflowSpec | None) -> list[Row]:
    """Return the failed steps of which a person has to say what becomes of them."""
    said = {(one.step, one.attempt) for one in run.spec.control.interventions}
    by_name = {row.name: row for row in steps if not row.run and row.name != GUARD_APPROVAL}
    failed = [row for row in by_name.values() if row.record.phase is StepPhase.FAILED]
    open_ones = [row for row in failed if (row.name, row.record.attempt) not in said]
    return [row for row in open_ones if _manual(row, spec, by_name.get(f"{row.name}/{ALTERNATE}"))]


def _manual(row: Row, spec: WorkflowSpec | None, alternate: Row | None) -> bool:
    if spec is None or row.spec is None:
        return True
    # What the Workflow says holds for its own steps only; a template's steps fail the step that uses them.
    of_scope = spec.on_failure if row.depth == 0 and row.section != FINALLY else OnFailure.FAIL
    declared = row.spec.on_failure or of_scope
    if declared is OnFailure.ALTERNATE and alternate is not None:
        declared = of_scope if alternate.record.phase is StepPhase.FAILED else declared
    return declared is OnFailure.MANUAL


def progress(run: WorkflowExecution, steps: Sequence[Row]) -> str:
    """Return ``m/n``: as the operator says, else as counted."""
    if run.status and run.status.progress:
        return run.status.progress
    own = [row for row in steps if not row.run]
    return f"{sum(row.record.phase in _DONE for row in own)}/{len(own)}" if own else ""


def share(run: WorkflowExecution, steps: Sequence[Row]) -> tuple[int, int]:
    """Return how many steps of how many are done."""
    done, _, whole = progress(run, steps).partition("/")
    return (int(done), int(whole)) if done.isdigit() and whole.isdigit() else (0, 0)
