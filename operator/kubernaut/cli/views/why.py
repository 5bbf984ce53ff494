"""The trail of a run: why it began, what was resolved, what each step did, what the evidence says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from kubernaut.api.execution import MetricStatus, StepPhase, StepStatus, WorkflowExecution
from kubernaut.api.names import FINALIZER
from kubernaut.api.reasons import explain
from kubernaut.api.workflow import Metric, WorkflowSpec
from kubernaut.cli.outline import Row, progress
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import age, clock, moment
from kubernaut.cli.views.asking import asking
from kubernaut.cli.views.expected import expected
from kubernaut.cli.views.guards import guards
from kubernaut.cli.views.proposals import PROPOSAL, proposals
from kubernaut.cli.views.result import changed, ending, mode, outputs, relatives, short_json
from kubernaut.cli.views.run import asked, conditions, lifecycle, trouble
from kubernaut.cli.views.steps import started, took
from kubernaut.cli.views.words import fields, heading, mark, phase, verdict, word
from kubernaut.core.probing import Probed

_EFFECTS: Final = (
    "Effects are as they are now, read with your own rights; signatures of marks are not checked here."
)


def trail(
    run: WorkflowExecution,
    rows: Sequence[Row],
    spec: WorkflowSpec | None,
    at: datetime,
    *,
    source: str = "",
    probes: Mapping[str, Probed] | None = None,
) -> RenderableType:
    """Return the whole trail.

    Args:
        source: where it was read, if not in the cluster.
        probes: by step, whether what it did still stands.
    """
    probes = probes or {}
    meta = run.metadata
    head = Text.assemble(("Why ", "bold"), (line(f"{meta.namespace}/{meta.name}"), "bold"))
    head.append(f"  {phase(run)}")
    head.append(f", {verdict(run)}" if verdict(run) else "")
    parts: list[RenderableType] = [head]
    if source:
        parts.append(safe(source, "yellow"))
    if run.spec.dry_run:
        parts.append(safe(mode(run), "yellow"))
    parts += [heading("Trigger"), _in(_trigger(run, at))]
    parts += [heading("Resolved"), _in(_resolved(run, spec))]
    if guards(run, spec):
        parts += [heading("Guards"), _in(fields(guards(run, spec)))]
    parts.append(heading(f"Steps {progress(run, rows)}".rstrip()))
    parts += [
        Padding(step(n, row, at, probes.get(row.name)), (0, 0, 0, 2 + 2 * row.depth))
        for n, row in enumerate(rows, 1)
    ]
    if probes:
        parts.append(_in(safe(_EFFECTS, "dim")))
    if not rows:
        parts.append(_in(safe("No step has begun.")))
    if asking(run, rows, spec, at):
        parts += [heading("Waits for a person"), *(_in(text) for text in asking(run, rows, spec, at))]
    if run.spec.dry_run:
        parts += [heading("Result"), _in(changed(run))]
    if proposals(run):
        parts += [heading("Proposed, to be put into Git"), *(_in(text) for text in proposals(run))]
    if outputs(run):
        parts += [heading("Outputs"), _in(fields([(name, safe(value)) for name, value in outputs(run)]))]
    parts += [heading("Verification"), _in(_verification(run, spec))]
    parts += [heading("Verdict"), _in(_verdict(run, at))]
    if run.status and run.status.conditions:
        parts += [heading("Conditions"), _in(conditions(run.status.conditions, at))]
    parts += [heading("Look by hand"), _in(Group(*(safe(command) for command in by_hand(run, bool(source)))))]
    return Group(*parts)


def step(number: int, row: Row, at: datetime, probed: Probed | None = None) -> RenderableType:
    """Return one step: when it was decided, what it did and changed, if that stands, why it failed, what to do."""
    record = row.record
    head = Text(f"{number}. ")
    head.append_text(mark(record.phase.value)).append(f" {line(row.name)}", "bold")
    head.append(f"  {line(row.does)}" if row.does else "").append("  ")
    head.append_text(word(record.phase.value))
    duration = took(record, at)
    head.append(
        f" in {duration}" if record.finished_at and duration else f" for {duration}" if duration else ""
    )
    lines: list[tuple[str, Text]] = [("when", safe(_period(record)))]
    lines.append(("branch", safe(line(record.branch or ""))))
    run = started(record)
    lines.append(("run", safe(line(f"{run} {record.progress or ''}".strip()) if run else "")))
    if row.needs:
        lines.append(("after", safe(", ".join(row.needs))))
    lines.append(("attempts", safe(str(record.attempt) if record.attempt > 1 else "")))
    lines += [("pinned", safe(short_json(record.intent)))] if record.intent and not run else []
    lines += [("changed", safe(line(sentence))) for sentence in record.changed or ()]
    if record.phase is StepPhase.SUCCEEDED and record.changed is None:
        lines.append(("changed", safe("nothing")))
    lines.append(("effect", safe(line(str(probed)) if probed else "")))
    lines.append(("message", safe(record.message or "")))
    lines += _failure(record)
    lines += [
        (f"outputs.{line(key)}", safe(short_json(value)))
        for key, value in (record.outputs or {}).items()
        if key != PROPOSAL
    ]
    return Group(head, Padding(fields(lines), (0, 0, 0, 5)))


def by_hand(run: WorkflowExecution, gone: bool = False) -> list[str]:
    """Return the kubectl commands that show the same without this command."""
    meta, status = run.metadata, run.status
    space = f"-n {line(meta.namespace)}" if meta.namespace else ""
    commands = [] if gone else [f"kubectl get kwfe {line(meta.name)} {space} -o yaml"]
    if not gone:
        commands.append(f"kubectl events {space} --for workflowexecution/{line(meta.name)}")
    if status and status.workflow and not gone:
        commands.append(f"kubectl get controllerrevision {line(status.workflow.snapshot)} {space} -o yaml")
    if status and status.target:
        kind, name = line(status.target.kind).lower(), line(status.target.name)
        commands.append(
            f"kubectl get {kind} {name} {space} -o yaml   # its step.kubernaut.io annotations: the markers"
        )
        commands.append(f"kubectl describe {kind} {name} {space}")
    return commands


def _in(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 2))


def _trigger(run: WorkflowExecution, at: datetime) -> RenderableType:
    trigger, created = run.spec.trigger, run.metadata.creation_timestamp
    when = f"{moment(created)} ({age(created, at)} ago)" if created else ""
    return fields(
        [
            ("what", safe(trigger.type.value)),
            ("who", safe(line(trigger.by) or "not said")),
            ("why", safe(line(trigger.reason) or "not said")),
            ("when", safe(when)),
            *((name.lower(), safe(text)) for name, text in relatives(run)),
            ("asked since", safe(asked(run))),
        ]
    )


def _resolved(run: WorkflowExecution, spec: WorkflowSpec | None) -> RenderableType:
    status = run.status
    if status is None or status.workflow is None:
        name = line(run.spec.workflow_ref.name)
        return safe(f"Nothing yet: Workflow {name} and its target are looked up when the run begins.")
    workflow, target = status.workflow, status.target
    version = f" version {spec.version}" if spec and spec.version else ""
    found = f"{target.api_version} {target.kind} {target.name}, uid {target.uid}" if target else ""
    values = ", ".join(f"{p.name}={line(p.value)}" for p in run.spec.parameters)
    return fields(
        [
            ("workflow", safe(line(f"{workflow.name}{version}"))),
            ("lifecycle", safe(lifecycle(spec))),
            ("revision", safe(str(workflow.revision) if workflow.revision is not None else "")),
            ("content", safe(f"{workflow.content_hash}, kept as ControllerRevision {workflow.snapshot}")),
            ("target", safe(line(found) or "not resolved")),
            (
                "account",
                safe(f"ServiceAccount {workflow.service_account_name}: every step acts and reads as it"),
            ),
            ("parameters", safe(values)),
        ]
    )


def _verification(run: WorkflowExecution, spec: WorkflowSpec | None) -> RenderableType:
    status = run.status
    pairs: list[tuple[str, Text]] = []
    if spec and spec.verify:
        pairs += [("expected", safe(line(expression))) for expression in spec.verify.expect]
        pairs += [("metric", safe(line(_asked(one)))) for one in spec.verify.metrics]
    elif spec:
        pairs.append(("expected", safe("nothing: the Workflow declares no expectation")))
    if status:
        pairs.append(("looked since", safe(moment(status.verify_since))))
        pairs.append(("held since", safe(moment(status.healthy_since))))
        pairs += [("measured", safe(line(_measured(one)))) for one in status.metrics or ()]
        verified = next((c for c in status.conditions if c.type == "Verified"), None)
        if verified is not None:
            pairs.append(("evidence", safe(line(f"{verified.status.value}: {verified.message}"))))
    return fields(pairs) if any(text.plain for _, text in pairs) else safe("Not begun.")


def _asked(metric: Metric) -> str:
    return f"{metric.name}: {metric.expect}, where value is {metric.query}"


def _measured(metric: MetricStatus) -> str:
    told = f"{metric.name}: {metric.state.value}"
    if metric.value is not None:
        told += f", {metric.value}"
    if metric.samples != 1:
        told += f" ({metric.samples} samples)"
    return f"{told}, {metric.reason}" if metric.reason else told


def _verdict(run: WorkflowExecution, at: datetime) -> RenderableType:
    status = run.status
    given = word(verdict(run)) if verdict(run) else Text("none yet")
    ended = moment(status.finished_at) if status else ""
    pairs = [("verdict", given), ("outcome", safe(ending(run))), ("ended", safe(ended))]
    pairs.append(("expected", safe(expected(run, at))))
    pairs += [(name.lower(), text) for name, text in trouble(run)]
    if run.metadata.deletion_timestamp is not None:
        held = FINALIZER in run.metadata.finalizers
        waits = "; it goes once the history holds the run" if held else ""
        pairs.append(("deletion", safe(f"asked for {moment(run.metadata.deletion_timestamp)}{waits}")))
    return fields(pairs)


def _failure(record: StepStatus) -> list[tuple[str, Text]]:
    if not record.reason:
        return []
    info = explain(record.reason)
    kind = f" ({info.category.value})" if info else ""
    pairs = [("reason", safe(f"{record.reason}{kind}"))]
    bad = record.phase in (StepPhase.FAILED, StepPhase.RUNNING, StepPhase.WAITING)
    return pairs + ([("fix", safe(info.fix, "green"))] if info and bad else [])


def _period(record: StepStatus) -> str:
    start, end = clock(record.started_at), clock(record.finished_at)
    return f"{start} → {end}" if start and end else start or end
