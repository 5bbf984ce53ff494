"""The tables of docs/observability.md: what is on the dashboards, and which alerts there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from dashboards import BOARDS

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = "docs/observability.md"
ALERTS: Final = "charts/kubernaut/files/alerts.yaml"


def page() -> str:
    """Return the page with its tables made anew; the rest is written by hand.

    Raises:
        ValueError: a table has no place there.
    """
    text = (ROOT / PAGE).read_text()
    for name, lines in (("dashboards", _dashboards()), ("alerts", _alerts())):
        parts = re.split(rf"(<!-- {name}: .*? -->\n)(.*?)(<!-- end -->)", text, flags=re.DOTALL)
        if len(parts) != 5:
            raise ValueError(
                f"{PAGE} needs one place for the table of {name}: <!-- {name}: ... --> <!-- end -->"
            )
        table = "\n".join(lines)
        text = f"{parts[0]}{parts[1]}\n{table}\n\n{parts[3]}{parts[4]}"
    return text


def alerts() -> list[dict[str, Any]]:
    """Return the alerts of the chart with something in the place of what its template fills in."""
    text = re.sub(r"\{\{[^{}]*\}\}", "1h", (ROOT / ALERTS).read_text())
    found: list[dict[str, Any]] = yaml.safe_load(text)
    return found


def _dashboards() -> Iterator[str]:
    yield "| Dashboard | Row | Panels |"
    yield "|---|---|---|"
    for board in BOARDS:
        for row in board.rows:
            yield f"| {board.title} | {row.title} | {'; '.join(panel.title for panel in row.panels)} |"


def _alerts() -> Iterator[str]:
    yield "| Alert | Severity | Fires when | For |"
    yield "|---|---|---|---|"
    for one in alerts():
        name = f"[`{one['alert']}`](runbooks/{one['runbook']}.md)"
        yield f"| {name} | {one['severity']} | {one['when']} | {one.get('for', '')} |"
