"""The revisions of a Workflow: listed, shown and compared."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.revising import Kept
from kubernaut.cli.text import cell, clean
from kubernaut.cli.times import age
from kubernaut.cli.views.words import table

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def listing(found: Sequence[Kept], at: datetime) -> Table:
    """Return one line a revision, the current one first."""
    made = table("REVISION", "CONTENT", "VERSION", "STEPS", "LIVE RUNS", "AGE", "")
    for one in found:
        made.add_row(
            cell(one.number),
            cell(one.short),
            cell(one.spec.version if one.spec else "?"),
            cell(len(one.spec.steps) if one.spec else "?"),
            cell(one.runs),
            cell(age(one.since, at)),
            Text("current" if one.current else "", "green"),
        )
    return made


def plain(spec: WorkflowSpec) -> dict[str, Any]:
    """Return a content as a person would write it: without what is so by default."""
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def document(spec: WorkflowSpec | None, data: Mapping[str, Any]) -> str:
    """Return a content as YAML, plainly; as it was kept where it can't be read."""
    shown = plain(spec) if spec else dict(data)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)


def difference(old: Kept, new: Kept) -> RenderableType:
    """Return a unified diff of two contents."""
    before, after = (document(one.spec, one.data).splitlines() for one in (old, new))
    lines = list(difflib.unified_diff(before, after, old.title, new.title, lineterm=""))
    if not lines:
        return Text(f"No difference between {old.title} and {new.title}.")
    return Group(*(Text(clean(text), _STYLES.get(text[:1], "")) for text in lines))
