"""What the chart tells the Prometheus operator is right by its CRDs; each alert fires when it should, only then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_overlays as chart
from apiserver.defined import defined
from apiserver.rest import Client
from localcluster import Cluster
from monitoring import Refused, promtool
from monitoring.definitions import definitions

GROUP = "/apis/monitoring.coreos.com/v1"
KINDS = {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}
Manifest = dict[str, Any]
CASES = (chart.MONITORING, "everything")


@pytest.fixture(scope="session")
def helm() -> Path:
    return chart.helm()


def monitors(helm: Path, name: str) -> list[Manifest]:
    manifests = chart.template(helm, "--values", str(chart.values_of(name)))
    return [one for one in manifests if one["kind"] in KINDS]


@pytest.fixture(scope="module")
def operators_kinds(cluster: Cluster) -> Iterator[None]:
    with defined(cluster, *definitions(*KINDS.values())):
        yield


def created(admin: Client, manifest: Manifest) -> str:
    """Return why the API server would not create an object; empty where it would."""
    path = f"{GROUP}/namespaces/{chart.NAMESPACE}/{KINDS[manifest['kind']]}"
    answer = admin.request("POST", path, manifest, dryRun="All", fieldValidation="Strict")
    return "" if answer.ok else answer.message


@pytest.mark.usefixtures("operators_kinds")
@pytest.mark.parametrize("name", CASES)
def test_the_prometheus_operator_takes_what_the_chart_renders(helm: Path, admin: Client, name: str) -> None:
    found = monitors(helm, name)
    assert {one["kind"] for one in found} == set(KINDS)
    for manifest in found:
        assert created(admin, manifest) == ""
        assert "unknown field" in created(admin, {**manifest, "spec": {**manifest["spec"], "nonsense": 1}})


@pytest.mark.usefixtures("operators_kinds")
def test_kustomize_applies_it_and_a_second_time_nothing_changes(cluster: Cluster) -> None:
    folder = ("-k", str(chart.ROOT / "manifests" / chart.MONITORING))

    def applied() -> dict[str, str]:
        told = cluster.run_kubectl(
            "apply", "--server-side", "--field-manager=chart-test", *folder, "-o", "json"
        )
        return {
            f"{one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"]
            for one in json.loads(told)["items"]
        }

    try:
        first = applied()
        assert set(first) == {
            "ServiceMonitor kubernaut",
            "PrometheusRule kubernaut",
            "ConfigMap kubernaut-dashboard-operations",
            "ConfigMap kubernaut-dashboard-effectiveness",
        }
        assert applied() == first
    finally:
        cluster.run_kubectl("delete", "--ignore-not-found", *folder)


# Rules


@pytest.fixture(scope="module")
def rules(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alerts of the chart in a file as Prometheus reads it."""
    (rule,) = [one for one in monitors(helm, chart.MONITORING) if one["kind"] == "PrometheusRule"]
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    return path


def test_the_rules_are_rules(rules: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", str(rules))


def of(metric: str, values: str, pod: int = 0, **labels: str) -> dict[str, str]:
    """Return a series of a replica, a sample a minute: as the Prometheus operator has it labelled, with its node."""
    where = {
        "namespace": "kubernaut-system",
        "service": "kubernaut-operator",
        "job": "kubernaut-operator",
        "container": "operator",
        "endpoint": "http",
        "pod": f"kubernaut-operator-{pod}",
        "node": f"node-{pod}",
        "instance": f"10.0.0.{pod}:8080",
    }
    told = ",".join(f'{key}="{value}"' for key, value in {**where, **labels}.items())
    return {"series": f"{metric}{{{told}}}", "values": values}


# Three replicas for two hours, all well: runs come and go, one of them a while in the mirror, one asks for a while.
_SHARDS = {0: 3, 1: 3, 2: 3}
WELL = [
    *(of("kubernaut_heartbeat_timestamp_seconds", "0+60x120", pod) for pod in range(3)),
    *(of("kubernaut_shards_held", f"{held}x120", pod) for pod, held in _SHARDS.items()),
    *(of("kubernaut_shards", "9x120", pod) for pod in range(3)),
    *(of("kubernaut_acting_stopped", "0x120", pod, reason="Stopped") for pod in range(3)),
    *(of("kubernaut_breaker_open", "0x120", pod, dependency="postgres") for pod in range(3)),
    *(of("kubernaut_runs_longest_unmoved_seconds", "0+50x60 0x60", pod) for pod in range(3)),
    *(of("kubernaut_approvals_longest_wait_seconds", "0+60x9 0x110", pod) for pod in range(3)),
    *(of("kubernaut_mirror_lag_seconds", "0+60x14 0x105", pod) for pod in range(3)),
    *(of("kubernaut_mirror_spooled_runs_total", "0x120", pod) for pod in range(3)),
    *(of("kubernaut_sync_pauses_overdue", "0x120", pod) for pod in range(3)),
    *(of("kubernaut_watch_canary_age_seconds", "2x120", pod) for pod in range(3)),
    *(of("kubernaut_notifications_pending", "0x40 1x10 0x70", pod, channel="slack") for pod in range(3)),
    *(of("kubernaut_guards_invalid", "0x120", pod) for pod in range(3)),
    *(of("kubernaut_flags_invalid", "0x120", pod) for pod in range(3)),
    *(of("kubernaut_runs_unreadable", "0x120", pod) for pod in range(3)),
]
# By alert: series that take the place of some of those, a time in minutes at which it does not fire yet, one at which
# it does, and how many alerts that is.
FIRES: dict[str, tuple[list[dict[str, str]], int, int, int]] = {
    "KubernautDoesNotAct": ([of("kubernaut_acting_stopped", "0x9 1x110", 1, reason="Stopped")], 14, 16, 1),
    "KubernautHangs": ([of("kubernaut_heartbeat_timestamp_seconds", "0+60x10 600x110", 1)], 12, 14, 1),
    # Nobody took over what replica 1 held when it went.
    "KubernautHoldsNoShards": (
        [
            of("kubernaut_shards_held", "3x10 stale", 1),
            of("kubernaut_shards", "9x10 stale", 1),
            of("kubernaut_heartbeat_timestamp_seconds", "0+60x10 stale", 1),
        ],
        15,
        17,
        1,
    ),
    "KubernautRunsStuck": ([of("kubernaut_runs_longest_unmoved_seconds", "0+60x120", 1)], 60, 61, 1),
    "KubernautRunsUnreadable": ([of("kubernaut_runs_unreadable", "0x9 1x110", 1)], 14, 16, 1),
    "KubernautApprovalsWait": ([of("kubernaut_approvals_longest_wait_seconds", "0+60x120", 1)], 10, 11, 1),
    "KubernautBreakerOpen": (
        [of("kubernaut_breaker_open", "0x9 1x110", pod, dependency="postgres") for pod in range(3)],
        11,
        13,
        1,
    ),
    "KubernautMirrorLags": (
        [of("kubernaut_mirror_lag_seconds", "0+60x120", pod) for pod in (0, 1)],
        15,
        16,
        1,
    ),
    "KubernautRunsSpooled": (
        [of("kubernaut_mirror_spooled_runs_total", "0x20 3x99", pod) for pod in (0, 2)],
        20,
        22,
        2,
    ),
    "KubernautWatchesSilent": (
        [of("kubernaut_watch_canary_age_seconds", "0+60x120", pod) for pod in (0, 1)],
        2,
        4,
        2,
    ),
    "KubernautNotificationsFail": (
        [of("kubernaut_notifications_pending", "0x9 1x110", pod, channel="slack") for pod in (0, 1)],
        24,
        26,
        1,
    ),
    "KubernautSyncPauseOverdue": ([of("kubernaut_sync_pauses_overdue", "0x9 2x110", 1)], 14, 16, 1),
    "KubernautGuardsInvalid": ([of("kubernaut_flags_invalid", "0x9 1x110", 2)], 14, 16, 1),
}


def played(series: Sequence[dict[str, str]], rules: Path, *demands: Manifest) -> Manifest:
    """Return a test as promtool plays it."""
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": list(series), "promql_expr_test": list(demands)}],
    }


def demand(alert: str, minute: int, count: int) -> Manifest:
    """Demand that so many alerts of a name fire at a minute."""
    samples = [{"labels": "{}", "value": count}] if count else []
    expr = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}


def play(test: Manifest, folder: Path) -> None:
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


def test_no_alert_fires_while_all_is_well(rules: Path, tmp_path: Path) -> None:
    nothing = [
        {"expr": "count(ALERTS{alertstate='firing'})", "eval_time": f"{minute}m", "exp_samples": []}
        for minute in range(1, 120, 3)
    ]
    play(played(WELL, rules, *nothing), tmp_path)


@pytest.mark.parametrize("alert", FIRES)
def test_an_alert_fires_when_it_should_and_no_other_does(alert: str, rules: Path, tmp_path: Path) -> None:
    bad, before, after, count = FIRES[alert]
    changed = {one["series"] for one in bad}
    series = [one for one in WELL if one["series"] not in changed] + bad
    others = f'count(ALERTS{{alertname!="{alert}", alertstate="firing"}})'
    alone = {"expr": others, "eval_time": f"{after}m", "exp_samples": []}
    play(played(series, rules, demand(alert, before, 0), demand(alert, after, count), alone), tmp_path)
    with pytest.raises(Refused):
        play(played(WELL, rules, demand(alert, after, count)), tmp_path)


def test_that_no_replica_is_there_is_told(rules: Path, tmp_path: Path) -> None:
    gone = [{**one, "values": re.sub(r"x\d+.*", "x10 stale", one["values"], count=1)} for one in WELL]
    name = "KubernautAbsent"
    play(played(gone, rules, demand(name, 15, 0), demand(name, 17, 1)), tmp_path)


def test_each_alert_is_played(rules: Path) -> None:
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    assert {one["alert"] for one in group["rules"]} == {*FIRES, "KubernautAbsent"}
