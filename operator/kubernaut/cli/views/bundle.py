"""What `collect_diagnostics` kept of a run, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kubernaut.cli.text import cell, line, safe
from kubernaut.cli.times import moment
from kubernaut.cli.views.words import table
from kubernaut.history.bundles import BundleInfo

_FIELDS: Final = 12


def listing(kept: Sequence[BundleInfo]) -> Table:
    """Return one line for each step that kept something."""
    made = table("STEP", "TAKEN", "BYTES")
    for one in kept:
        made.add_row(cell(one.step), cell(moment(one.taken_at)), cell(one.size))
    return made


def details(content: Mapping[str, Any], run: str, step: str) -> Iterator[RenderableType]:
    """Yield all of a bundle: who changed what first, whole objects last."""
    yield safe(f"Run {run}, step {step}, taken {content.get('takenAt')}", "bold")
    for told in content.get("omitted") or ():
        yield safe(f"  left out: {line(told)}")
    yield from _section(
        "Owners", [f"{one['of']} belongs to {one['kind']} {one['name']}" for one in _all(content, "owners")]
    )
    yield from _section("Changes, newest first", map(_change, _all(content, "changes")))
    yield from _section("Warnings, newest first", map(_event, _all(content, "events")))
    for log in _all(content, "logs"):
        before = ", of its run before" if log.get("previous") else ""
        yield Text()
        yield safe(f"Log of {log['pod']}/{log['container']}{before}", "bold")
        yield safe(log["text"].rstrip("\n"))
    for one in (content.get("target") or {}, *_all(content, "pods")):
        if one:
            yield Text()
            yield safe(f"{one.get('kind')} {one['metadata']['name']}", "bold")
            yield safe(yaml.safe_dump(one, sort_keys=False, allow_unicode=True, width=110).rstrip())


def _all(content: Mapping[str, Any], key: str) -> Sequence[Any]:
    found: Sequence[Any] = content.get(key) or ()
    return found


def _section(title: str, lines: Any) -> Iterator[RenderableType]:
    told = [safe(f"  {line(one)}") for one in lines]
    if told:
        yield Text()
        yield safe(title, "bold")
        yield from told


def _change(one: Mapping[str, Any]) -> str:
    shown = one["fields"][:_FIELDS]
    more = len(one["fields"]) - len(shown) + int(one.get("more") or 0)
    where = f"/{one['subresource']}" if one.get("subresource") else ""
    told = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"{one['at']} {one['of']}{where} by {one['by']} ({one['operation']}): {told}"


def _event(one: Mapping[str, Any]) -> str:
    about = one.get("involvedObject") or {}
    when = one.get("lastTimestamp") or one.get("eventTime") or one["metadata"].get("creationTimestamp")
    times = f" ({one['count']} times)" if (one.get("count") or 1) > 1 else ""
    return f"{when} {about.get('kind')} {about.get('name')}: {one.get('reason')}: {one.get('message')}{times}"
