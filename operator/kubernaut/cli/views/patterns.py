"""What was learned from many runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table

from kubernaut.api.pattern import DiscoveredPattern, DiscoveredPatternStatus, Quality, SuccessRate
from kubernaut.cli.text import cell, line, safe
from kubernaut.cli.times import age, moment
from kubernaut.cli.views.run import conditions
from kubernaut.cli.views.words import fields, heading, table, word


def listing(found: Sequence[DiscoveredPattern], at: datetime, *, namespaces: bool = False) -> Table:
    """Return one line a pattern, those with most runs first."""
    head = ["NAMESPACE"] if namespaces else []
    made = table(*head, "NAME", "RUNS", "SUCCESS", "RECOMMENDED", "LAST SEEN", "SIGNATURE", last_wraps=True)
    for pattern in sorted(found, key=lambda one: -(one.status.support if one.status else 0)):
        status = pattern.status or DiscoveredPatternStatus()
        row = [cell(pattern.metadata.namespace)] if namespaces else []
        recommended = status.recommended.workflow if status.recommended else ""
        summary = status.signature.summary if status.signature else ""
        row += [cell(pattern.metadata.name), cell(str(status.support)), cell(success(status.success))]
        row += [cell(recommended), cell(age(status.last_seen, at)), cell(f"{_said(pattern)}{summary}")]
        made.add_row(*row)
    return made


def details(pattern: DiscoveredPattern, at: datetime) -> RenderableType:
    """Return all that a pattern says."""
    meta, status = pattern.metadata, pattern.status
    if status is None:
        return safe(
            f"Pattern {line(meta.namespace)}/{line(meta.name)} has no status yet: the analyst has not written it."
        )
    recommended = status.recommended
    advice = (
        f"{recommended.workflow}: {success(recommended.success)} in {recommended.runs} runs, "
        f"median {recommended.median_seconds:.1f} s"
        if recommended
        else ""
    )
    seen = f"{moment(status.first_seen)} to {moment(status.last_seen)}" if status.first_seen else ""
    parts: list[RenderableType] = [
        fields(
            [
                ("Pattern", safe(line(f"{meta.namespace}/{meta.name} version {status.version}"))),
                ("Said", safe(_said(pattern) + line(pattern.spec.note))),
                ("Signature", safe(status.signature.summary if status.signature else "")),
                ("Runs", safe(str(status.support))),
                ("Success", safe(success(status.success))),
                ("Recommended", safe(line(advice) or "nothing: no Workflow has enough runs here")),
                ("Seen", safe(seen)),
                ("Quality", safe(quality(status.quality))),
                ("Algorithm", safe(_algorithm(status))),
            ]
        )
    ]
    if status.signature and status.signature.features:
        features = table("FEATURE", "HERE", "ELSEWHERE")
        for one in status.signature.features:
            features.add_row(cell(one.name), cell(f"{one.share:.0%}"), cell(f"{one.elsewhere:.0%}"))
        parts += [heading("What tells it from the rest"), features]
    if status.exemplars:
        exemplars = table("NAMESPACE", "RUN", "VERDICT", "UID")
        for run in status.exemplars:
            exemplars.add_row(cell(run.namespace), cell(run.name), word(run.verdict), cell(run.uid))
        parts += [heading("Exemplars (kubernaut why RUN -n NAMESPACE)"), exemplars]
    if status.conditions:
        parts += [heading("Conditions"), conditions(status.conditions, at)]
    return Group(*parts)


def success(rate: SuccessRate | None) -> str:
    """Return ``92% (11/12, 95% interval 65-99%)``; the interval is Wilson's."""
    if rate is None:
        return ""
    low, high = rate.interval.lower * 100, rate.interval.upper * 100
    sure = rate.interval.confidence
    return f"{rate.rate:.0%} ({rate.remediated}/{rate.concluded}, {sure:.0%} interval {low:.0f}-{high:.0f}%)"


def quality(found: Quality | None) -> str:
    """Return how well the cluster holds together."""
    if found is None:
        return ""
    parts = [f"membership {found.membership:.2f}"]
    parts += [f"silhouette {found.silhouette:.2f}"] if found.silhouette is not None else []
    parts += [f"stability {found.stability:.2f}"] if found.stability is not None else []
    return ", ".join(parts)


def _said(pattern: DiscoveredPattern) -> str:
    words = [word for word, on in (("pinned", pattern.spec.pinned), ("muted", pattern.spec.muted)) if on]
    return f"[{', '.join(words)}] " if words else ""


def _algorithm(status: DiscoveredPatternStatus) -> str:
    values = ", ".join(f"{key}={value}" for key, value in (status.parameters or {}).items())
    return line(f"{status.algorithm or ''} {f'({values})' if values else ''}")
