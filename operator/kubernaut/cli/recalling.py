"""What `kubernaut history` does: reads pages of runs from Postgres."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kubernaut.cli.errors import Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.historic import demand_dsn, reading_history
from kubernaut.cli.output import emit, note, show
from kubernaut.cli.replaying import span
from kubernaut.cli.times import now
from kubernaut.cli.views import recalled as views
from kubernaut.history.database import Database
from kubernaut.history.pages import RunFilter
from kubernaut.history.records import RunRecord
from kubernaut.history.repository import Repository

_PAGE: Final = 500
_SILENT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; empty means any."""

    namespace: str
    workflow: str
    verdict: str
    since: str
    limit: int
    dsn: str
    form: Format


def recalled(wanted: Wanted) -> int:
    """Print past runs.

    Raises:
        CliError: what was asked for is not understood, or the history can't be read.
    """
    at = now()
    since = at - span(wanted.since)
    demand_dsn(wanted.dsn)
    where = RunFilter(wanted.namespace or None, wanted.workflow or None, wanted.verdict or None, since)
    with reading_history():
        runs, more = asyncio.run(_read(wanted.dsn, where, wanted.limit))
    if wanted.form.for_programs:
        emit({"runs": [views.wire(one) for one in runs], "more": more}, wanted.form)
    elif runs:
        show(views.listing(runs, at, namespaces=not wanted.namespace, wide=wanted.form is Format.WIDE))
    else:
        note(f"The history has no such run since {since:%Y-%m-%d %H:%M}Z.")
    if more and not wanted.form.for_programs:
        note(f"There are more than these {len(runs)}: raise --limit, or narrow what is asked for.")
    return Exit.OK


async def _read(dsn: str, where: RunFilter, limit: int) -> tuple[list[RunRecord], bool]:
    database = Database(dsn, migrating=False, connections=1, read_only=True)
    found: list[RunRecord] = []
    after: str | None = None
    told = time.monotonic()
    try:
        repository = Repository(database)
        while True:
            page = await repository.list_runs(where, after=after, limit=min(_PAGE, limit - len(found)))
            found += page.items
            after = page.next
            if after is None or len(found) >= limit:
                return found, after is not None
            if time.monotonic() - told > _SILENT_SECONDS:
                told = time.monotonic()
                note(f"{len(found)} runs read, back to {_day(found[-1].created_at)} ...")
    finally:
        await database.close()


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}Z"
