"""What guards say of a run: what its Workflow declares, why it waits or was declined, who approved."""

from __future__ import annotations

from rich.text import Text

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import StepPhase, StepStatus, WorkflowExecution
from kubernaut.api.guards import GUARD_APPROVAL, ChangeWindow, Guards, WindowType
from kubernaut.api.reasons import GUARD_REASONS
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.text import line, safe


def guards(run: WorkflowExecution, spec: WorkflowSpec | None) -> list[tuple[str, Text]]:
    """Return names and values; nothing for a run that no guard concerns, as far as it tells."""
    pairs = [("declared", safe(line(told))) for told in declared(spec.guards)] if spec and spec.guards else []
    status = run.status
    if status is None:
        return pairs
    held = next((one for one in status.conditions if one.type == "Reconciling"), None)
    if held is not None and held.reason in GUARD_REASONS:
        pairs.append(("waits", safe(line(f"{held.reason}: {held.message}"), "yellow")))
    if status.phase.final and status.reason in GUARD_REASONS:
        pairs.append(("declined", safe(line(f"{status.reason}: {status.message or ''}"), "yellow")))
    for record in status.steps:
        if record.name != GUARD_APPROVAL and record.phase.final and record.reason in GUARD_REASONS:
            pairs.append(
                ("refused", safe(line(f"{record.name}: {record.message or record.reason}"), "yellow"))
            )
    asked = next((one for one in status.steps if one.name == GUARD_APPROVAL), None)
    if asked is not None:
        pairs.append(("approval", safe(line(_approval(asked)))))
    if status.high_risk:
        pairs.append(("high risk", safe(f"{', '.join(status.high_risk)}: counted by their breaker")))
    return pairs


def declared(given: Guards) -> list[str]:
    """Return in words what a Workflow declares."""
    plain = {
        "cooldown": given.cooldown,
        "waitAtMost": given.wait_at_most,
    }
    found = [f"{name} {format_duration(value)}" for name, value in plain.items() if value is not None]
    if given.max_per_hour is not None:
        found.append(f"maxPerHour {given.max_per_hour}")
    if given.max_unavailable_percent is not None:
        found.append(f"maxUnavailablePercent {given.max_unavailable_percent}")
    found += [_window(window) for window in given.change_windows]
    found += [f"stopWhileFiring {one.alert}" for one in given.stop_while_firing]
    if given.storm is not None:
        storm = given.storm
        found.append(
            f"storm: {storm.runs} runs within {format_duration(storm.within)}, then none for "
            f"{format_duration(storm.cooldown)}"
        )
    if given.protected_namespaces:
        found.append(f"protectedNamespaces {', '.join(given.protected_namespaces)}")
    found += [f"protectedLabels {one.key}: {one.value or '(any)'}" for one in given.protected_labels]
    if given.respect_budgets:
        found.append("respectBudgets")
    if given.approval is not None:
        found.append(f"approval {given.approval.value}")
    if given.git_ops is not None:
        found.append(f"gitOps {given.git_ops.value}")
    if given.pause_sync is not None:
        pause = given.pause_sync
        found.append(f"pauseSync {format_duration(pause.expires_after)}, resumed {pause.resume.value}")
    if given.oscillation is not None:
        times = given.oscillation
        within, cooldown = format_duration(times.within), format_duration(times.cooldown)
        found.append(f"oscillation: undone within {within}, then left alone for {cooldown}")
    if given.breaker is not None:
        breaker = given.breaker
        found.append(f"breaker: {breaker.bad_runs} bad runs within {format_duration(breaker.within)}")
    return found


def _window(window: ChangeWindow) -> str:
    days = f" {'/'.join(window.days)}" if window.days else ""
    kind = "open" if window.type is WindowType.OPEN else "closed"
    return f"{kind} window {window.name}:{days} {window.start}-{window.end} {window.time_zone}"


def _approval(record: StepStatus) -> str:
    told = record.message or ""
    if record.phase is StepPhase.WAITING:
        return f"asked: {told}"
    return f"{record.phase.value}: {told or record.reason or ''}"
