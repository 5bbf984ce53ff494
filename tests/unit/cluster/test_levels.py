"""Guards of the cluster and its namespaces, as the switch's ConfigMap has them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kubernaut.cluster.levels import LevelGuards, read_level
from kubernaut.core.guards.levels import Reach


def test_nothing_declared_costs_nothing() -> None:
    guards = LevelGuards()
    guards.see({"acting": "on", "feature.eta": "off"})
    assert guards.levels("shop") == ()


def test_a_namespace_has_its_own_guards_and_those_of_the_cluster() -> None:
    guards, told = LevelGuards(), []
    guards.on_change(lambda: told.append(1))
    data = {"guards.cluster": "cooldown: 10m\nmaxPerHour: 6\n", "guards.namespace.shop": "approval: OnRisk"}
    guards.see(data)
    guards.see(dict(data))
    assert len(told) == 1
    own, wide = guards.levels("shop")
    assert (own.reach, own.name, own.guards.approval) == (Reach.NAMESPACE, "shop", "OnRisk")
    assert (wide.reach, wide.guards.cooldown, str(wide)) == (
        Reach.CLUSTER,
        timedelta(minutes=10),
        "the cluster",
    )
    assert guards.levels("tools") == (wide,)
    guards.see({})
    assert guards.levels("shop") == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cooldown: [", "is not YAML"),
        ("", "is no map of fields"),
        ("- cooldown", "is no map of fields"),
        ("cooldown: 0b_", "is not YAML"),
        ("cooldown: " + "[" * 2000, "is not YAML"),
        ("coolDown: 10m", "coolDown: Extra inputs are not permitted"),
        ("cooldown: 2026-13-45", "cooldown: "),
        ("cooldown: 2 days", "cooldown: "),
        (
            "changeWindows: [{name: w, timeZone: Mars/Olympus}]",
            "changeWindows[0].timeZone: there is no time zone",
        ),
    ],
)
def test_what_is_not_understood_is_told_with_its_entry_and_holds(text: str, told: str) -> None:
    level = read_level("guards.namespace.shop", text)
    assert level.problem.startswith("entry guards.namespace.shop")
    assert told in level.problem


def test_times_and_dates_need_no_quotes_as_in_a_workflow_that_kubectl_applies() -> None:
    window = "{name: night, start: 22:00, end: 06:00, firstDate: 2026-12-20, lastDate: 2027-01-02}"
    level = read_level("guards.cluster", f"changeWindows: [{window}]\nmaxPerHour: 6\n")
    assert level.problem == ""
    (read,) = level.guards.change_windows
    assert (read.start, read.end, read.first_date, read.last_date) == (
        "22:00",
        "06:00",
        "2026-12-20",
        "2027-01-02",
    )
    assert level.guards.max_per_hour == 6


def test_an_entry_of_no_known_name_holds_the_cluster() -> None:
    guards = LevelGuards()
    guards.see({"guards.namspace.shop": "cooldown: 10m"})
    (level,) = guards.levels("anywhere")
    assert "is neither guards.cluster nor guards.namespace.NAME" in level.problem
    assert guards.problems == (level.problem,)
