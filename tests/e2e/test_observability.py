"""Dashboards and alerts of the chart ask a real Prometheus that scrapes the real operator and the real analyst."""

from __future__ import annotations

import json
import math
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import chart_overlays as chart
from apiserver.rest import MERGE_PATCH
from dashboards import BOARDS
from dashboards.board import Board
from e2e.alerting import alert, taking_alerts
from e2e.feed import Manifest
from e2e.websteps import acting, note
from e2e.world import SWITCH, Place, World, until
from localrun.access import account_kubeconfig
from localrun.process import LocalProcess, Operator, free_port
from monitoring import LocalPrometheus, promtool

FAILS = acting("fails", patch={"metadata": {"labels": {"x": "y"}}}, expect={"spec.paused": True})
MET = {"expect": ["has(target.metadata.labels)"], "stabilization": "0s"}
NOT_MET = {"expect": ["target.spec.paused"], "stabilization": "0s", "timeout": "100ms"}
# What Grafana puts in the place of these.
FILLED = {"$namespace": ".*", "$job": ".*", "$__rate_interval": "2m", "$__range": "5m"}
METRIC = re.compile(r"\bkubernaut_\w+")


def scrape(process: str, *ports: int) -> Manifest:
    """Return what the Prometheus operator makes of the chart's ServiceMonitor, with the labels it gives."""
    labels = {
        "namespace": "kubernaut-system",
        "service": f"kubernaut-{process}",
        "container": process,
        "endpoint": "http",
    }
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {**labels, "pod": f"kubernaut-{process}-{number}"}}
        for number, port in enumerate(ports)
    ]
    return {"job_name": f"kubernaut-{process}", "static_configs": targets}


def filled(expression: str) -> str:
    for variable, value in FILLED.items():
        expression = expression.replace(variable, value)
    return expression


@dataclass
class Watched:
    """An installation at work, and who watches it.

    Attributes:
        second: another replica that is scraped once it runs.
        rules: alerts by name, as the chart renders them.
        boards: the dashboards, as the chart renders them.
    """

    world: World
    operator: Operator
    second: Operator
    analyst_port: int
    prometheus: LocalPrometheus
    rules: dict[str, Manifest]
    boards: dict[str, Manifest]

    def ask(self, expression: str) -> list[Manifest]:
        return self.prometheus.ask(filled(expression))

    def states(self) -> dict[str, str]:
        """Return the state of each alert that is pending or firing."""
        return {one["labels"]["alertname"]: one["state"] for one in self.prometheus.alerts()}

    def stirs(self, name: str, **labels: str) -> None:
        """Wait until an alert is pending or firing, with these labels."""

        def look() -> bool:
            found = [one["labels"] for one in self.prometheus.alerts() if one["labels"]["alertname"] == name]
            return any(labels.items() <= one.items() for one in found)

        until(f"{name} {labels} is pending", look)

    def quiet(self) -> None:
        until("no alert is pending any more", lambda: not self.states(), 60)


def rendered() -> tuple[dict[str, Manifest], dict[str, Manifest]]:
    """Return the alerts and dashboards of the chart."""
    parts = ("prometheusRule", "dashboards")
    enabled = [part for name in parts for part in ("--set", f"metrics.{name}.enabled=true")]
    manifests = chart.template(chart.helm(), "--set", "crds.enabled=false", *enabled)
    (rule,) = [one for one in manifests if one["kind"] == "PrometheusRule"]
    maps = [one for one in manifests if "grafana_dashboard" in (one["metadata"].get("labels") or {})]
    alerts = {one["alert"]: one for group in rule["spec"]["groups"] for one in group["rules"]}
    boards = {name: json.loads(text) for one in maps for name, text in one["data"].items()}
    return alerts, boards


@pytest.fixture(scope="module")
def watched(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Operator and analyst, with some runs of each kind behind them and some that wait."""
    folder = tmp_path_factory.mktemp("observed")
    rules, boards = rendered()
    with ExitStack() as stack:
        teller, operator = stack.enter_context(taking_alerts(world))
        port = free_port()
        analyst = LocalProcess("kubernaut.analyst", analyst_env(world, folder, port), folder / "analyst.log")
        analyst.start()
        stack.callback(analyst.stop)
        env = {"KUBERNAUT_POLICY_CHECK": "1s", "KUBERNAUT_IDENTITY": "second"}
        second = world.new_operator(world.postgres.dsn, env)
        stack.callback(second.stop)
        scrapes = [scrape("operator", operator.port, second.port), scrape("analyst", port)]
        groups = [{"name": "kubernaut", "rules": list(rules.values())}]
        prometheus = LocalPrometheus(folder / "prometheus", scrapes, groups)
        prometheus.run()
        stack.callback(prometheus.stop)
        found = Watched(world, operator, second, port, prometheus, rules, boards)
        until("the operator is scraped", lambda: found.ask("kubernaut_shards_held > 0"))
        teller.tell(alert(namespace="nowhere"))
        work(world.place(), prometheus)
        until("there is a pattern", lambda: found.ask("kubernaut_pattern_success_ratio"), 60)
        yield found


def analyst_env(world: World, folder: Path, port: int) -> dict[str, str]:
    return {
        "KUBERNAUT_KUBECONFIG": str(account_kubeconfig(world.cluster, "kubernaut-analyst", folder)),
        "KUBERNAUT_DSN": world.postgres.dsn,
        "KUBERNAUT_ANALYST_INTERVAL": "1s",
        "KUBERNAUT_ANALYST_MIN_CLUSTER_SIZE": "2",
        "KUBERNAUT_ANALYST_METRICS_PORT": str(port),
    }


def work(place: Place, prometheus: LocalPrometheus) -> None:
    """Have runs that help, that do not, and that fail; and leave one that asks, and one that waits for its target."""
    place.workflow(note("fine"), verify=MET)
    place.workflow(note("vain"), name="vain", verify=NOT_MET)
    place.workflow(FAILS, name="failing")
    ended = []
    for number in range(3):
        for workflow in ("flow", "vain", "failing"):
            run = place.run(f"{workflow}-{number}", workflow)
            run.end()
            ended.append(run.uid)
        # What first shows as 1 has not increased: an action is shown from its first step on.
        until("its steps are scraped", lambda: prometheus.ask("kubernaut_steps_total"))
    place.world.await_rows(ended)
    place.workflow({"name": "ask", "approval": {}}, name="asking")
    place.run("asks", "asking").step_is("ask", "Waiting")
    place.run("waits").held("TargetBusy")


def queries(board: Manifest) -> list[tuple[str, str]]:
    """Return title and expression of each query of a dashboard."""
    return [
        (panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())
    ]


def known(results: list[Manifest]) -> bool:
    """Whether there is a value that is a number."""
    return any(not math.isnan(float(one["value"][1])) for one in results)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.name))
def test_every_query_of_a_dashboard_gives_data(watched: Watched, board: Board) -> None:
    asked = queries(watched.boards[f"{board.name}.json"])
    assert len(asked) >= 15

    def missing() -> list[tuple[str, str]]:
        return [(title, expr) for title, expr in asked if not known(watched.ask(expr))]

    until_none("queries without data", missing)


def until_none(what: str, look: Any) -> None:
    left: list[Any] = []

    def none() -> bool:
        left[:] = look()
        return not left

    try:
        until(f"no {what}", none, 30)
    except AssertionError:
        raise AssertionError(f"{what}: {left}") from None


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.name))
def test_what_can_be_chosen_is_found(watched: Watched, board: Board) -> None:
    chosen = {}
    for variable in watched.boards[f"{board.name}.json"]["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            chosen[variable["name"]] = watched.prometheus.values(label, filled(selector))
    assert chosen["namespace"] == ["kubernaut-system"]
    assert "kubernaut-operator" in chosen["job"]
    assert ("kubernaut-analyst" in chosen["job"]) is (board.name == "effectiveness")


def test_no_label_of_ours_gives_way_to_one_of_the_scrape(watched: Watched) -> None:
    names = watched.prometheus.get("/api/v1/labels")["data"]
    assert not [name for name in names if name.startswith("exported_")]


def test_alerts_ask_for_what_there_is_and_none_stirs_while_all_is_well(watched: Watched) -> None:
    for name, rule in watched.rules.items():
        watched.ask(rule["expr"])
        for metric in METRIC.findall(rule["expr"]):
            assert watched.ask(f"count({metric})"), f"{name} asks for {metric}, and there is none"
    (group,) = watched.prometheus.get("/api/v1/rules")["data"]["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == dict.fromkeys(watched.rules, "ok")
    watched.quiet()


@pytest.mark.parametrize("name", ["KubernautRunsStuck", "KubernautApprovalsWait"])
def test_a_run_that_waits_is_told_of_once_it_has_waited_for_long_enough(watched: Watched, name: str) -> None:
    metric, _, least = watched.rules[name]["expr"].rpartition(" > ")
    assert float(least) >= 600
    until("its wait is told", lambda: watched.ask(f"{metric} > 1"))


def test_stopped_is_told(watched: Watched) -> None:
    watched.world.switch("off", "a test")
    watched.stirs("KubernautDoesNotAct", reason="Stopped")
    watched.world.switch("on")
    watched.quiet()


def test_what_is_not_understood_of_the_switch_is_told(watched: Watched) -> None:
    for value in ("perhaps", None):
        data = {"data": {"feature.history": value}}
        assert watched.world.admin.request("PATCH", SWITCH, data, content_type=MERGE_PATCH).ok
        if value is not None:
            watched.stirs("KubernautGuardsInvalid")
    watched.quiet()


def test_a_history_that_is_away_is_told_and_so_is_how_long_runs_wait_for_it(watched: Watched) -> None:
    place = watched.world.place()
    place.workflow(note("only"))
    with watched.world.without_history():
        place.run().end()
        watched.stirs("KubernautBreakerOpen", dependency="postgres")
        metric, _, least = watched.rules["KubernautMirrorLags"]["expr"].rpartition(" > ")
        assert float(least) == 900
        until("the lag grows", lambda: watched.ask(f"{metric} > 1"))
    until("nothing waits", lambda: watched.ask(f"{metric} == 0"), 60)
    watched.quiet()


def test_metrics_are_as_prometheus_wants_them(watched: Watched) -> None:
    for port in (watched.operator.port, watched.analyst_port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert "# TYPE kubernaut_" in text
        promtool("check", "metrics", given=text)


def test_shards_of_a_replica_that_died_are_told_until_another_one_has_them(watched: Watched) -> None:
    watched.second.start()
    watched.second.wait_ready()
    until("both have shards", lambda: len(watched.ask("kubernaut_shards_held > 3")) == 2)
    until("all are held", lambda: watched.ask("sum(kubernaut_shards_held) == max(kubernaut_shards)"))
    watched.quiet()
    watched.second.kill()
    watched.stirs("KubernautHoldsNoShards", job="kubernaut-operator")
    watched.quiet()
    until("all are held", lambda: watched.ask("sum(kubernaut_shards_held) == max(kubernaut_shards)"))


def test_an_operator_that_is_gone_is_told(watched: Watched) -> None:
    watched.operator.stop()
    watched.stirs("KubernautAbsent")
    watched.operator.start()
    watched.operator.wait_ready()
    watched.quiet()
