"""Verdicts that rest upon metrics: a real Prometheus scrapes what is repaired, and the operator asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from e2e.websteps import note
from e2e.world import ROOT, Place, Run, World, condition, until
from kubernaut.core.ports import Manifest
from localrun.process import Operator
from monitoring import LocalPrometheus

ERRORS = '="max(shop_error_ratio{namespace=\'" + run.namespace + "\', deployment=\'" + target.metadata.name + "\'})"'
METRIC = {"name": "error-ratio", "query": ERRORS, "expect": "value < params.most"}
SAMPLE = ROOT / "manifests" / "samples" / "error-rate.yaml"
MOST = {"name": "most", "type": "number", "default": "0.05"}


@dataclass
class Shops:
    """What is repaired, as far as Prometheus sees it: shares of errors by namespace, and requests that go well."""

    ratios: dict[str, float] = field(default_factory=dict)
    requests: int = 0

    def page(self) -> bytes:
        """Return the page, in the text format."""
        self.requests += 10
        lines = ["# TYPE shop_error_ratio gauge"]
        for name, ratio in list(self.ratios.items()):
            lines.append(f'shop_error_ratio{{namespace="{name}",deployment="web"}} {ratio}')
        lines.append("# TYPE http_requests_total counter")
        for name in list(self.ratios):
            series = f'http_requests_total{{namespace="{name}",deployment="web",code="200"}}'
            lines.append(f"{series} {self.requests}")
        return "\n".join([*lines, ""]).encode()


@pytest.fixture(scope="module")
def shops() -> Iterator[tuple[Shops, int]]:
    shops = Shops()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(shops.page())

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield shops, server.server_port
    server.shutdown()
    serving.join()
    server.server_close()


@dataclass
class Measured:
    """A Prometheus, who is scraped by it, and the operator that asks it."""

    shops: Shops
    prometheus: LocalPrometheus
    operator: Operator

    def is_seen(self, *ratios: tuple[Place, float]) -> None:
        """Let shops have a share of errors, and wait until Prometheus knows."""
        wanted = {place.namespace: ratio for place, ratio in ratios}
        self.shops.ratios |= wanted

        def look() -> bool:
            found = self.prometheus.ask("shop_error_ratio")
            known = {one["metric"]["namespace"]: float(one["value"][1]) for one in found}
            return wanted.items() <= known.items()

        until("Prometheus has scraped it", look)


@pytest.fixture(scope="module")
def measured(
    world: World, shops: tuple[Shops, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    page, port = shops
    # As by the Prometheus operator, whose labels of the target give way to those of what is scraped.
    scrape = {
        "job_name": "shops",
        "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    prometheus = LocalPrometheus(tmp_path_factory.mktemp("prometheus"), [scrape])
    prometheus.run()
    try:
        env = {
            "KUBERNAUT_POLICY_CHECK": "1s",
            "KUBERNAUT_PROMETHEUS_URL": prometheus.url,
            "KUBERNAUT_PROMETHEUS_NAMESPACE_PARAMETER": "namespace",
            "KUBERNAUT_PROMETHEUS_BREAKER_FAILURES": "1",
        }
        with world.other_operator(world.postgres.dsn, env) as operator:
            yield Measured(page, prometheus, operator)
    finally:
        prometheus.stop()


def repaired(place: Place, timeout: str = "4s", window: str = "0s", **metric: str) -> Run:
    """Start a run that acts, whose target is well at once, and whose verdict rests upon a metric."""
    verify = {"metrics": [METRIC | metric], "stabilization": window, "timeout": timeout}
    place.workflow(note("only"), parameters=[MOST], verify=verify)
    return place.run()


def verdict(ended: Manifest) -> tuple[str, str]:
    return ended["verdict"], ended["reason"]


@pytest.fixture(scope="module")
def begun(world: World, measured: Measured) -> dict[str, Run]:
    """Runs of all kinds, side by side: nearly all that they do is to wait."""
    spec = yaml.safe_load(SAMPLE.read_text())["spec"]
    names = ("well", "ill", "mended", "missing", "wrong", "served", "idle")
    places = {name: world.place() for name in names}
    seen = {"well": 0.01, "ill": 0.31, "mended": 0.5, "wrong": 0.01, "served": 0.0}
    measured.is_seen(*((places[name], ratio) for name, ratio in seen.items()))
    runs = {
        "well": repaired(places["well"], window="2s"),
        "ill": repaired(places["ill"]),
        "mended": repaired(places["mended"], timeout="1m"),
        "missing": repaired(places["missing"]),
        "wrong": repaired(places["wrong"], query="sum(shop_error_ratio", timeout="5m"),
    }
    for name in ("served", "idle"):
        verify = spec["verify"] | {"expect": [], "stabilization": "0s", "timeout": "4s"}
        places[name].workflow(note("only"), parameters=spec["parameters"], verify=verify)
        runs[name] = places[name].run(deployment="web")
    runs["mended"].wait(lambda one: (one.get("status") or {}).get("phase") == "Verifying", "it is verified")
    measured.is_seen((places["mended"], 0.02))
    return runs


def test_a_metric_that_is_as_expected_is_evidence_and_one_that_is_not_is_told_with_its_value(
    world: World, begun: dict[str, Run]
) -> None:
    well, ill, mended = (begun[name].end() for name in ("well", "ill", "mended"))
    assert verdict(well) == verdict(mended) == ("Remediated", "ExpectationMet")
    assert well["metrics"] == [{"name": "error-ratio", "state": "Held", "value": "0.01", "samples": 1}]
    assert mended["metrics"][0]["value"] == "0.02"
    assert verdict(ill) == ("NotFixed", "MetricNotMet")
    assert "metric error-ratio is 0.31, but value < params.most is expected" in ill["message"]
    told = world.kubernaut("why", "run", "-n", begun["ill"].place.namespace)
    assert "error-ratio: NotMet, 0.31" in told.stdout, told


def test_a_metric_that_is_not_there_and_a_query_that_is_none_are_inconclusive_and_say_what_to_do(
    world: World, begun: dict[str, Run]
) -> None:
    missing, wrong = begun["missing"].end(), begun["wrong"].end()
    assert verdict(missing) == ("Inconclusive", "MetricMissing")
    assert missing["message"] == "Metric error-ratio is not known: its query gives no sample."
    assert verdict(wrong) == ("Inconclusive", "MetricRefused")
    assert "Prometheus refuses its query" in wrong["message"]
    assert "parse error" in wrong["message"]
    assert "Correct the query" in condition({"status": wrong}, "Ready")["message"]
    # What the history keeps tells it, too.
    (row,) = world.await_rows([begun["missing"].uid])
    assert row["verdict"] == "Inconclusive"
    assert json.loads(row["facts"])["metrics"] == missing["metrics"]


def test_the_query_of_the_sample_finds_that_no_request_failed_and_knows_nothing_where_there_was_none(
    begun: dict[str, Run],
) -> None:
    served, idle = begun["served"].end(), begun["idle"].end()
    assert verdict(served) == ("Remediated", "ExpectationMet")
    assert [(one["name"], one["value"]) for one in served["metrics"]] == [("error-rate", "0")]
    assert verdict(idle) == ("Inconclusive", "MetricMissing")


def test_an_operator_killed_within_the_window_asks_again_and_ends_it(
    world: World, measured: Measured
) -> None:
    place = world.place()
    measured.is_seen((place, 0.01))
    run = repaired(place, window="4s", timeout="1m")
    begun = run.wait(lambda one: bool((one.get("status") or {}).get("healthySince")), "its window has begun")
    measured.operator.kill()
    measured.operator.start()
    measured.operator.wait_ready()
    ended = run.end()
    assert verdict(ended) == ("Remediated", "ExpectationMet")
    assert ended["healthySince"] == begun["status"]["healthySince"]


def test_where_prometheus_is_gone_nobody_knows_whether_it_helped(world: World, measured: Measured) -> None:
    place = world.place()
    measured.is_seen((place, 0.01))
    measured.prometheus.stop()
    ended = repaired(place).end()
    assert verdict(ended) == ("Inconclusive", "MetricsUnavailable")
    assert "Metric error-ratio is not known" in ended["message"]
    assert measured.operator.metric("kubernaut_breaker_open", dependency="prometheus") == 1
    assert {
        (one.get("status") or {}).get("verdict") for one in world.runs.versions((place.namespace, "run"))
    } == {
        None,
        "Inconclusive",
    }
