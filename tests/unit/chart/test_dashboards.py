"""The dashboards are whole: what they ask for exists, what they link to exists, nothing lies upon another."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from dashboards import BOARDS, FOLDER
from dashboards.board import RUNBOOKS, Board
from kubernaut import metrics
from kubernaut.patterns import telemetry

ROOT = Path(__file__).resolve().parents[3]
# What the Prometheus operator puts on whatever it scrapes: a label of ours of that name would give way.
OF_THE_SCRAPE = {"namespace", "service", "pod", "container", "endpoint", "job", "instance", "node"}


def of_all(boards: tuple[Board, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("board", boards, ids=lambda board: str(board.name))


def stored(board: Board) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / FOLDER / f"{board.name}.json").read_text())
    return found


def names() -> dict[str, tuple[str, ...]]:
    """Return the labels of every metric by its name in Prometheus."""
    found: dict[str, tuple[str, ...]] = {}
    for module in (metrics, telemetry):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
                for suffix in kinds.get(family.type, ("",)):
                    found[family.name + suffix] = metric._labelnames
    return found


def test_no_label_is_called_as_one_of_the_scrape() -> None:
    assert not {
        (name, label) for name, labels in names().items() for label in labels if label in OF_THE_SCRAPE
    }


@of_all(BOARDS)
def test_what_is_asked_for_exists_with_the_labels_it_is_asked_by(board: Board) -> None:
    known = names()
    for panel in board.panels():
        for query in panel.queries:
            asked = set(re.findall(r"kubernaut_\w+", query.expr)) - {"kubernaut"}
            assert asked
            assert asked <= known.keys(), panel.title
            labels = {"le", "pod", "instance", *(label for name in asked for label in known[name])}
            by = re.findall(r"by \(([^)]*)\)", query.expr)
            wanted = {label.strip() for text in by for label in text.split(",")}
            wanted |= set(re.findall(r"{{(\w+)}}", query.legend))
            assert wanted <= labels, panel.title


@of_all(BOARDS)
def test_every_query_heeds_what_is_chosen(board: Board) -> None:
    for panel in board.panels():
        for query in panel.queries:
            asked = len(re.findall(r"kubernaut_\w+{", query.expr))
            assert query.expr.count('namespace=~"$namespace", job=~"$job"') == asked, panel.title


@of_all(BOARDS)
def test_every_panel_says_what_it_is_in_which_unit_and_leads_to_a_runbook_that_exists(board: Board) -> None:
    for panel in board.panels():
        assert panel.about.endswith((".", ".)")), panel.title
        assert panel.unit, panel.title
        assert not panel.runbook or (ROOT / RUNBOOKS / f"{panel.runbook}.md").is_file(), panel.title
        counts_time = any("seconds" in query.expr for query in panel.queries)
        assert not counts_time or panel.unit == "s", panel.title


def test_every_runbook_is_reached_from_the_operations() -> None:
    reached = {panel.runbook for panel in BOARDS[0].panels()}
    pages = {path.stem for path in (ROOT / RUNBOOKS).glob("*.md")} - {"README"}
    assert pages <= reached


@of_all(BOARDS)
def test_panels_lie_beside_each_other(board: Board) -> None:
    places = [panel["gridPos"] for panel in stored(board)["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@of_all(BOARDS)
def test_ids_are_unique_and_the_source_is_chosen(board: Board) -> None:
    found = stored(board)
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    assert found["uid"] == f"kubernaut-{board.name}"
    variables = {one["name"]: one for one in found["templating"]["list"]}
    assert variables.keys() == {"datasource", "namespace", "job", "runbooks"}
    assert all(
        target["datasource"]["uid"] == "${datasource}"
        for panel in found["panels"]
        for target in panel.get("targets", ())
    )


@of_all(BOARDS)
def test_the_chart_finds_where_to_put_the_address_of_runbooks(board: Board) -> None:
    text = (ROOT / FOLDER / f"{board.name}.json").read_text()
    assert text.count(f'"query": "{RUNBOOKS}"') == text.count(RUNBOOKS) == 1
