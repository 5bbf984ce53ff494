"""The colours and small words that all views share."""

from __future__ import annotations

from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kubernaut.api.execution import WorkflowExecution
from kubernaut.cli.text import cell

_WIDEST: Final = 4000
_STYLES: Final = {
    "Succeeded": "green",
    "Remediated": "green",
    "SelfHealed": "green",
    "NoActionRequired": "green",
    "Approve": "green",
    "True": "green",
    "Running": "cyan",
    "Verifying": "cyan",
    "Waiting": "yellow",
    "Suspended": "yellow",
    "Finalizing": "cyan",
    "RollingBack": "yellow",
    "RolledBack": "yellow",
    "Inconclusive": "yellow",
    "Declined": "yellow",
    "Cancelled": "yellow",
    "Failed": "red",
    "NotFixed": "red",
    "Deny": "red",
    "Pending": "dim",
    "Skipped": "dim",
}
_MARKS: Final = {
    "Pending": "·",
    "Running": "▶",
    "Waiting": "◷",
    "Succeeded": "✔",
    "Failed": "✘",
    "Skipped": "−",
    "RolledBack": "↺",
}


def word(value: str | None) -> Text:
    """Return a phase, verdict or truth in its colour."""
    return cell(value, _STYLES.get(value or "", ""))


def mark(phase: str) -> Text:
    """Return the sign of a step's phase."""
    return Text(_MARKS.get(phase, "?"), style=_STYLES.get(phase, ""))


class _Whole(Table):
    """A table that is as wide as what stands in it: a name of which the end is cut off can't be typed again."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < _WIDEST:
            needed = Measurement.get(console, options.update(width=_WIDEST), self).maximum
            options = options.update(width=max(needed, options.max_width))
        return super().__rich_console__(console, options)


def table(*columns: str, last_wraps: bool = False) -> Table:
    """Return a table like kubectl's: capital headings, no lines, three blanks between columns.

    One without a column that wraps is never cut: a terminal that is narrower wraps its lines.
    """
    kind = Table if last_wraps else _Whole
    made = kind(box=None, show_edge=False, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        wraps = last_wraps and index == len(columns) - 1
        made.add_column(name, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    return made


def fields(pairs: list[tuple[str, Text]]) -> Table:
    """Return names and values in two columns; what has no value is left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value.plain:
            made.add_row(name, value)
    return made


def heading(text: str) -> Text:
    """Return the heading of a section."""
    return Text(f"\n{text}", style="bold underline")


def target(run: WorkflowExecution) -> str:
    """Return ``Deployment/checkout`` once it was resolved, else nothing."""
    found = run.status.target if run.status else None
    return f"{found.kind}/{found.name}" if found else ""


def phase(run: WorkflowExecution) -> str:
    """Return the phase, Pending where the operator has not looked yet."""
    return run.status.phase.value if run.status else "Pending"


def verdict(run: WorkflowExecution) -> str:
    """Return the verdict, or nothing."""
    return run.status.verdict.value if run.status and run.status.verdict else ""
