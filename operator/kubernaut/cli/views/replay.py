"""What a replay said, for people."""

from __future__ import annotations

from datetime import datetime

from rich.console import RenderableType
from rich.table import Table

from kubernaut.cli.text import cell, safe
from kubernaut.cli.times import moment
from kubernaut.cli.views.words import table
from kubernaut.replaying.recorded import Result
from kubernaut.replaying.replay import SAME, UNKNOWN
from kubernaut.replaying.summary import Summary


def summary(found: Summary, workflow: str, namespace: str, since: datetime) -> list[RenderableType]:
    """Return the counts, then the reasons, then the runs that would have gone otherwise."""
    counts = found.counts
    head = f"{found.runs} runs of Workflow {namespace}/{workflow} since {moment(since)}: {counts[SAME]} same"
    made: list[RenderableType] = [
        safe(f"{head}, {found.otherwise} otherwise, {counts[UNKNOWN]} unknown.", "bold")
    ]
    if found.reasons:
        rows = [(str(runs), what) for (_, what), runs in found.reasons.most_common()]
        made += [safe(""), _counted("WOULD HAVE GONE OTHERWISE", rows)]
    if found.unknown:
        rows = [(str(runs), what) for what, runs in found.unknown.most_common()]
        made += [safe(""), _counted("UNKNOWN, FOR IT IS NOT RECORDED", rows)]
    if found.kept:
        made += [safe(""), _runs(found.kept)]
    if more := found.otherwise - len(found.kept):
        made.append(safe(f"and {more} more; --limit lists them"))
    return made


def _counted(title: str, rows: list[tuple[str, str]]) -> Table:
    made = table("RUNS", title, last_wraps=True)
    for runs, what in rows:
        made.add_row(cell(runs), cell(what))
    return made


def _runs(kept: list[Result]) -> Table:
    made = table("RUN", "BEGAN", "WAS", "WOULD BE", "BECAUSE", last_wraps=True)
    for one in kept:
        would = str(one.would) if one.would else "not known"
        because = "; ".join(difference.told for difference in one.differences)
        if one.unknown:
            because += f"; from there on it hangs on {one.unknown}"
        made.add_row(
            cell(one.run.name),
            cell(moment(one.run.started_at)),
            cell(str(one.was)),
            cell(would),
            cell(because),
        )
    return made
