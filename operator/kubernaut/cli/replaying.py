"""What `kubernaut replay` does: reads the new Workflow, then run after run of the history."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.duration import parse_duration
from kubernaut.api.workflow import Workflow
from kubernaut.cli.catalogue import actions
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.historic import demand_dsn, reading_history
from kubernaut.cli.lint.check import check_text, workflows
from kubernaut.cli.lint.documents import read
from kubernaut.cli.lint.files import text_of
from kubernaut.cli.output import emit, note, show
from kubernaut.cli.times import now
from kubernaut.cli.views import replay as views
from kubernaut.history.begun import BegunRuns, Chosen
from kubernaut.history.database import Database
from kubernaut.history.records import RunRecord
from kubernaut.replaying import guarding
from kubernaut.replaying.replay import Content, Replay
from kubernaut.replaying.summary import Summary

_DAYS: Final = re.compile(r"([0-9]{1,5})d")
_LONGEST: Final = timedelta(days=36_500)
_MOST_CONTENTS: Final = 64
_SILENT_SECONDS: Final = 2.0
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    file: str
    since: str
    of: str
    namespace: str
    limit: int
    fail: bool
    dsn: str
    form: Format


def replayed(wanted: Wanted) -> int:
    """Replay, and print what came of it."""
    since = span(wanted.since)
    workflow = workflow_of(text_of(wanted.file), wanted.file)
    demand_dsn(wanted.dsn)
    with reading_history():
        return asyncio.run(_replayed(wanted, workflow, now() - since))


def span(text: str) -> timedelta:
    """Return a duration; days are understood too.

    Raises:
        CliError: it is none.
    """
    days = _DAYS.fullmatch(text)
    try:
        found = min(timedelta(days=int(days[1])), _LONGEST) if days else parse_duration(text)
    except ValueError as error:
        raise CliError(
            f"--since: {error}", "Write days as in 90d, or a duration as in 12h or 1h30m."
        ) from None
    if not found:
        raise CliError(
            f"--since: {text!r} is no time at all", "Write days as in 90d, or a duration as in 12h."
        )
    return found


def workflow_of(text: str, source: str) -> Workflow:
    """Return the one Workflow of a text.

    Raises:
        CliError: there is none, or more than one, or it would not be Ready.
    """
    report = check_text(text, source, actions())
    if report.findings:
        first = report.findings[0]
        more = f" ({len(report.findings) - 1} more)" if len(report.findings) > 1 else ""
        told = f"{first.file}:{first.line}: {first.path}: {first.message}{more}"
        raise CliError(told, f"{first.fix} See `kubernaut lint {source}`.".strip())
    found = workflows(read(text, source))
    if len(found) != 1:
        count = f"{len(found)} Workflows" if found else "no Workflow"
        raise CliError(f"{source} holds {count}", "Give a file with exactly one Workflow.")
    return found[0]


async def _replayed(wanted: Wanted, workflow: Workflow, since: datetime) -> int:
    name = wanted.of or workflow.metadata.name
    database = Database(wanted.dsn, migrating=False, connections=1, read_only=True)
    try:
        runs = BegunRuns(database)
        namespace = wanted.namespace or workflow.metadata.namespace or await _namespace(runs, name)
        replay = Replay(name, namespace, workflow.spec, actions())
        summary = await replay_all(runs, replay, Chosen(namespace, name, since, now()), wanted.limit)
    finally:
        await database.close()
    if wanted.form.for_programs:
        head = {"workflow": name, "namespace": namespace, "since": since.isoformat()}
        emit({**head, "contentHash": replay.new.digest, **summary.wire()}, wanted.form)
    elif summary.runs:
        show(*views.summary(summary, name, namespace, since))
    else:
        note(
            f"The history has no run of Workflow {namespace}/{name} that began since {since:%Y-%m-%d %H:%M}Z."
        )
    return Exit.RUN_FAILED if wanted.fail and summary.otherwise else Exit.OK


async def _namespace(runs: BegunRuns, name: str) -> str:
    found = await runs.namespaces(name)
    if len(found) == 1:
        return found[0]
    if not found:
        fix = "Check its name, or name another with --of."
        raise CliError(f"the history has no run of a Workflow {name!r}", fix, Exit.NOT_FOUND)
    raise CliError(f"there are Workflows {name!r} in {', '.join(found)}", "Name the namespace with -n.")


async def replay_all(runs: BegunRuns, replay: Replay, chosen: Chosen, limit: int) -> Summary:
    """Replay run after run, and tell now and then how far it is."""
    summary, told = Summary(limit), time.monotonic()
    contents: OrderedDict[str, Content | None] = OrderedDict()
    # Guards look back at runs from before.
    before = guarding.keep_for(replay.new.plan, chosen.workflow, chosen.namespace)
    earlier = Chosen(chosen.namespace, chosen.workflow, chosen.since - before, chosen.since)
    async with aclosing(runs.pages(earlier, _PAGE)) as pages:
        async for page in pages:
            for run in page:
                replay.skip(run)
    async with aclosing(runs.pages(chosen, _PAGE)) as pages:
        async for page in pages:
            for run in page:
                summary.add(replay.one(run, await _content(runs, replay, contents, run)))
            if time.monotonic() - told > _SILENT_SECONDS:
                told = time.monotonic()
                note(f"{summary.runs} runs replayed, up to {page[-1].started_at:%Y-%m-%d %H:%M}Z ...")
    return summary


async def _content(
    runs: BegunRuns, replay: Replay, known: OrderedDict[str, Content | None], run: RunRecord
) -> Content | None:
    """Return the content that a run followed; the newest ones are kept compiled."""
    digest = run.content_hash
    if digest is None:
        return None
    if digest not in known:
        if len(known) >= _MOST_CONTENTS:
            known.popitem(last=False)
        known[digest] = replay.content(digest, await runs.content(digest))
    known.move_to_end(digest)
    return known[digest]
