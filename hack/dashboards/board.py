"""A dashboard as data, and the JSON that Grafana (10 and newer) reads.

Every panel asks the data source that is chosen above, for the namespaces and jobs that are chosen there. Panels flow
from left to right in the order they are given, 24 columns wide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

#: where runbooks are, until the chart puts its value ``metrics.prometheusRule.runbookBase`` there
RUNBOOKS: Final = "docs/runbooks"
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24
_SCHEMA: Final = 39
GREEN, YELLOW, RED = "green", "yellow", "red"
Json = dict[str, Any]


def of(metric: str, *matchers: str) -> str:
    """Return the selector of a metric's series of the chosen namespaces and jobs."""
    chosen = ('namespace=~"$namespace"', 'job=~"$job"', *matchers)
    return f"{metric}{{{', '.join(chosen)}}}"


def rate(metric: str, *matchers: str) -> str:
    """Return the rate of a counter, a second."""
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def within(metric: str, *matchers: str) -> str:
    """Return by how much a counter grew within the time that is looked at."""
    return f"increase({of(metric, *matchers)}[$__range])"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """Return a quantile of a histogram of the last minutes, by a label if wanted."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(f'{histogram}_bucket', *matchers)}))"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        legend: as Grafana writes it, with ``{{label}}``.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        about: what is seen there, and what a bad value means.
        unit: as Grafana calls it: s, reqps, percentunit, short, cpm.
        levels: the least values that are yellow and red; where the second is less than the first, the most.
        runbook: page of docs/runbooks to go to when it looks bad.
        words: what is written in the place of a value.
    """

    title: str
    about: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "bargauge", "table"] = "timeseries"
    unit: str = "short"
    levels: tuple[float, float] | None = None
    runbook: str = ""
    width: int = 8
    height: int = 8
    stacked: bool = False
    words: Mapping[str, str] | None = None
    most: float | None = None

    def json(self, number: int, place: Json) -> Json:
        """Return the panel as Grafana reads it."""
        targets = [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                **_when(now=self.kind in ("bargauge", "table") or "$__range]" in query.expr),
                **({"format": "table"} if self.kind == "table" else {}),
            }
            for at, query in enumerate(self.queries)
        ]
        links = [_link(self.runbook)] if self.runbook else []
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "gridPos": place,
            "datasource": _SOURCE,
            "targets": targets,
            "links": links,
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            **({"transformations": _ONE_TABLE} if self.kind == "table" else {}),
        }

    def _defaults(self) -> Json:
        defaults: Json = {
            "unit": self.unit,
            "min": 0,
            "thresholds": {"mode": "absolute", "steps": self._steps()},
            "color": {"mode": "thresholds" if self.kind != "timeseries" else "palette-classic"},
        }
        if self.most is not None:
            defaults["max"] = self.most
        if self.words:
            options = {value: {"text": text} for value, text in self.words.items()}
            defaults["mappings"] = [{"type": "value", "options": options}]
        if self.kind == "timeseries":
            lines = {"mode": "line"} if self.levels else {"mode": "off"}
            stack = {"mode": "normal" if self.stacked else "none"}
            defaults["custom"] = {
                "fillOpacity": 30 if self.stacked else 5,
                "stacking": stack,
                "thresholdsStyle": lines,
                "showPoints": "never",
            }
        return defaults

    def _steps(self) -> list[Json]:
        if self.levels is None:
            return [{"value": None, "color": GREEN}]
        first, second = self.levels
        if second < first:
            return _ladder((None, RED), (second, YELLOW), (first, GREEN))
        return _ladder((None, GREEN), (first, YELLOW), (second, RED))

    def _options(self) -> Json:
        if self.kind == "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        if self.kind == "table":
            return {"showHeader": True}
        reduce = {"calcs": ["lastNotNull"], "values": False}
        if self.kind == "stat":
            return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area"}
        return {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic"}


# All queries of a table beside each other, a row for each set of labels.
_ONE_TABLE: Final = [
    {"id": "merge", "options": {}},
    {"id": "organize", "options": {"excludeByName": {"Time": True}}},
]


def _ladder(*steps: tuple[float | None, str]) -> list[Json]:
    """Return steps; of two that begin at the same value the later one counts."""
    return [{"value": value, "color": color} for value, color in dict(steps).items()]


def _when(*, now: bool) -> Json:
    """Return whether a query is asked for this moment or for each point of the time that is looked at."""
    return {"instant": now, "range": not now}


def _link(page: str) -> Json:
    return {"title": "Runbook", "url": f"${{runbooks}}/{page}.md", "targetBlank": True}


@dataclass(frozen=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Attributes:
        name: of its file and of its ConfigMap.
        jobs: a metric that each process has which the dashboard asks about.
    """

    name: str
    title: str
    about: str
    jobs: Sequence[str]
    rows: Sequence[Row]
    since: str = "now-6h"

    def panels(self) -> list[Panel]:
        """Return all panels, in order."""
        return [panel for row in self.rows for panel in row.panels]

    def text(self) -> str:
        """Return the file."""
        return json.dumps(self.json(), indent=1, ensure_ascii=False) + "\n"

    def json(self) -> Json:
        """Return the dashboard as Grafana reads it."""
        return {
            "description": f"{self.about} Generated by hack/dashboards; change it there.",
            "uid": f"kubernaut-{self.name}",
            "title": self.title,
            "tags": ["kubernaut"],
            "schemaVersion": _SCHEMA,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "timezone": "",
            "annotations": {"list": []},
            "links": [_TO_EACH_OTHER, _TO_RUNBOOKS],
            "templating": {"list": self._variables()},
            "panels": self._placed(),
        }

    def _variables(self) -> list[Json]:
        processes = "|".join(self.jobs)
        found = f'{{__name__=~"{processes}"'
        return [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            _choice("namespace", "Namespace", f"label_values({found}}}, namespace)"),
            _choice("job", "Job", f'label_values({found}, namespace=~"$namespace"}}, job)'),
            {
                "name": "runbooks",
                "label": "Runbooks",
                "type": "constant",
                "query": RUNBOOKS,
                "hide": 2,
                "skipUrlSync": True,
            },
        ]

    def _placed(self) -> list[Json]:
        found: list[Json] = []
        top = 0
        for row in self.rows:
            heading = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
            found.append(
                {
                    "id": len(found) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": heading,
                    "panels": [],
                }
            )
            top += 1
            left = tallest = 0
            for panel in row.panels:
                if left + panel.width > _COLUMNS:
                    top, left, tallest = top + tallest, 0, 0
                place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
                found.append(panel.json(len(found) + 1, place))
                left, tallest = left + panel.width, max(tallest, panel.height)
            top += tallest
        return found


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Also what has no such label, as where Prometheus runs outside the cluster.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_TO_EACH_OTHER: Final = {
    "title": "Kubernaut",
    "type": "dashboards",
    "tags": ["kubernaut"],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
}
_TO_RUNBOOKS: Final = {
    "title": "Runbooks",
    "type": "link",
    "url": "${runbooks}/README.md",
    "targetBlank": True,
}
