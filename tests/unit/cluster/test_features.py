"""Flags and capacities: what is understood, what is not, and what is never lost by a bad read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from kubernaut.cluster.features import (
    FLAGS,
    UNREAD,
    Features,
    named,
    read_flags,
    set_flags,
)
from kubernaut.cluster.switch import ActingSwitch, SwitchState, set_switch, switch_ref
from kubernaut.core.errors import Conflict, Forbidden, Unavailable, UnknownOutcome
from kubernaut.core.features import Feature
from kubernaut.metrics import REGISTRY
from unit.cluster.memory import MemoryCluster

REF = switch_ref()


def config(**data: str) -> dict[str, Any]:
    meta = {"name": REF.name, "namespace": REF.namespace}
    entries = {key.replace("__", ".").replace("_", "-"): value for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": entries}


def enabled(feature: str) -> float | None:
    return REGISTRY.get_sample_value("kubernaut_feature_enabled", {"feature": feature})


def test_every_feature_has_a_flag_that_says_what_happens_while_it_is_off() -> None:
    assert set(FLAGS) == set(Feature)
    assert all(flag.off.endswith(".") for flag in FLAGS.values())


def test_without_entries_everything_is_on_and_there_is_one_of_everything() -> None:
    flags = read_flags({"acting": "on", "by": "ann"})
    assert (flags.off, flags.problems) == (frozenset(), ())
    features = Features()
    features.see({})
    assert features.capacity("node-drain") == 1


@pytest.mark.parametrize("text", ["off", "OFF", " off\n"])
@pytest.mark.parametrize("feature", Feature)
def test_each_feature_is_switched_off_by_its_own_entry(feature: Feature, text: str) -> None:
    assert read_flags({f"feature.{feature}": text}).off == {feature}
    assert read_flags({f"feature.{feature}": "on"}).off == frozenset()


def test_a_name_may_be_written_in_the_case_of_the_field() -> None:
    assert named("forEach") is Feature.FOR_EACH
    assert read_flags({"feature.forEach": "off"}).off == {Feature.FOR_EACH}


@pytest.mark.parametrize("feature", Feature)
def test_a_value_that_is_neither_takes_the_side_that_changes_less(feature: Feature) -> None:
    flags = read_flags({f"feature.{feature}": "false"})
    acts = {Feature.ROLLBACK, Feature.RETRIES, Feature.SUBFLOWS, Feature.FOR_EACH, Feature.EXPIRY}
    assert flags.off == ({feature} & acts)
    (problem,) = flags.problems
    assert problem.startswith(f"feature.{feature}: 'false' is neither on nor off")
    assert problem.endswith("off" if feature in acts else "on")


def test_an_unknown_name_switches_nothing_and_the_nearest_is_told() -> None:
    flags = read_flags({"feature.rolback": "off"})
    assert flags.off == frozenset()
    assert flags.problems == (
        "feature.rolback: there is no such feature (did you mean rollback?); nothing is switched by it",
    )


def test_capacities_are_whole_numbers_and_bad_ones_count_as_one() -> None:
    features = Features()
    bad = {"b": "-1", "c": "two", "d": "1.5", "e": "", "f": "99999999", "Not-A-Name": "3"}
    features.see(
        {"capacity.node-drain": "5", "capacity.frozen": "0", **{f"capacity.{k}": v for k, v in bad.items()}}
    )
    assert features.capacity("node-drain") == 5
    assert features.capacity("frozen") == 0
    assert [features.capacity(name) for name in ("b", "c", "d", "e", "f", "other")] == [1] * 6
    assert len(features.problems) == len(bad)
    assert REGISTRY.get_sample_value("kubernaut_flags_invalid") == len(bad)


def test_before_the_first_read_nothing_is_put_back_started_or_deleted() -> None:
    off = Features().off
    assert off == UNREAD.off
    assert {Feature.ROLLBACK, Feature.SUBFLOWS, Feature.EXPIRY} <= off
    assert Feature.HISTORY not in off


def test_a_change_is_told_once_in_log_metric_and_callback(caplog: pytest.LogCaptureFixture) -> None:
    features, told = Features(), []
    features.on_change(lambda: told.append(features.off))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            features.see({"feature.rollback": "off", "feature.x": "off"})
    assert told == [{Feature.ROLLBACK}]
    assert [record.getMessage() for record in caplog.records].count("features switched off: rollback") == 1
    assert sum("there is no such feature" in record.getMessage() for record in caplog.records) == 1
    assert (enabled("rollback"), enabled("events")) == (0, 1)
    features.see({"capacity.x": "2"})
    assert (enabled("rollback"), len(told)) == (1, 2)


def test_a_start_with_everything_on_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Features().see({})
    assert caplog.records == []


def test_a_callback_that_fails_holds_up_no_other() -> None:
    features, told = Features(), []

    def fails() -> None:
        raise RuntimeError("defect")

    features.on_change(fails)
    features.on_change(lambda: told.append(1))
    features.see({})
    assert told == [1]


async def test_the_switch_brings_the_flags_with_its_own_read() -> None:
    cluster = MemoryCluster(config(feature__rollback="off"))
    switch = ActingSwitch(cluster)
    await switch.read()
    assert switch.features.off == {Feature.ROLLBACK}
    assert switch.acting_allowed()
    assert cluster.calls.count("get") == 1 + cluster.calls.count("patch")  # MemoryCluster's patch reads too


async def test_what_was_read_last_stays_while_nothing_can_be_read_or_the_configmap_is_gone() -> None:
    cluster = MemoryCluster(config(feature__expiry="off"))
    switch = ActingSwitch(cluster)
    await switch.read()
    cluster.trouble["get"] = [Unavailable("away")]
    await switch.read()
    assert switch.features.off == {Feature.EXPIRY}
    cluster.objects.clear()
    await switch.read()
    assert switch.features.off == {Feature.EXPIRY}
    assert not switch.acting_allowed()


@pytest.mark.parametrize(("text", "allowed"), [("on", True), ("off", False), ("nonsense", False)])
async def test_the_master_switch_written_as_a_flag_stops_too(text: str, allowed: bool) -> None:
    cluster = MemoryCluster(config(feature__acting=text))
    switch = ActingSwitch(cluster)
    await switch.read()
    assert switch.acting_allowed() is allowed
    assert allowed or f"feature.acting: {text}" in switch.refusal()
    assert switch.features.problems == ()


async def test_start_clears_a_flag_that_stops_and_leaves_the_other_flags_alone() -> None:
    cluster = MemoryCluster(config(feature__acting="off", feature__eta="off"))
    await set_switch(cluster, acting=True, by="ann", reason="", wait=0)
    data = cluster.objects[REF]["data"]
    assert "feature.acting" not in data
    assert data["feature.eta"] == "off"
    assert SwitchState.of(cluster.objects[REF]).acting == "on"


async def test_setting_a_flag_keeps_the_switch_and_survives_conflicts_and_lost_answers() -> None:
    cluster = MemoryCluster(config(acting="stopped", feature__eta="off"))
    cluster.trouble["patch"] = [Conflict("changed", status=409), UnknownOutcome("lost")]
    flags = await set_flags(cluster, REF, {"feature.rollback": "off", "feature.eta": None})
    assert flags.off == {Feature.ROLLBACK}
    assert cluster.objects[REF]["data"] == {"acting": "stopped", "feature.rollback": "off"}
    calls = len(cluster.calls)
    await set_flags(cluster, REF, {"feature.rollback": "off", "feature.eta": None})
    assert cluster.calls[calls:] == ["get"]


async def test_setting_a_flag_replaces_one_that_is_written_in_another_case() -> None:
    cluster = MemoryCluster(config(feature__forEach="off"))
    assert (await set_flags(cluster, REF, {"feature.foreach": "on"})).off == frozenset()
    assert cluster.objects[REF]["data"] == {"feature.foreach": "on"}


async def test_setting_a_flag_without_the_right_is_told() -> None:
    cluster = MemoryCluster(config())
    cluster.trouble["patch"] = [Forbidden("no", status=403)]
    with pytest.raises(Forbidden):
        await set_flags(cluster, REF, {"feature.rollback": "off"})


def test_the_page_on_features_says_what_each_flag_does() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "features.md").read_text()
    rows = {
        f"| `feature.{feature}` | {flag.off} | {'on' if flag.unclear else 'off'} |"
        for feature, flag in FLAGS.items()
    }
    assert {row for row in page.splitlines() if row.startswith("| `feature.")} == rows
