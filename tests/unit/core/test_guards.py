"""What guards decide: each by itself, at each level, with one line that says which guard, what it saw, until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import ApprovalPolicy, Breaker, ChangeWindow, Guards, Storm
from kubernaut.api.reasons import Reason
from kubernaut.core.guards import counting, health, windows
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.deciding import Alerts, Known, Subject, refusal
from kubernaut.core.guards.facts import guarded
from kubernaut.core.guards.levels import (
    Level,
    Reach,
    approval,
    breakers,
    guard_problems,
    lookback,
    wait_at_most,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
SUBJECT = Subject("me", "shop", "fix", "uid-web", "Deployment web", "shop", {"app": "web"})


def at_workflow(**fields: Any) -> Level:
    return Level(Reach.WORKFLOW, "fix", Guards.model_validate(fields))


def at_namespace(**fields: Any) -> Level:
    return Level(Reach.NAMESPACE, "shop", Guards.model_validate(fields))


def at_cluster(**fields: Any) -> Level:
    return Level(Reach.CLUSTER, "", Guards.model_validate(fields))


def a_past(
    minutes: float,
    *,
    lasted: float | None = 0,
    uid: str = "",
    verdict: Verdict | None = Verdict.REMEDIATED,
    **more: Any,
) -> Past:
    """Return a run that began so many minutes ago; ``lasted`` None where it goes on."""
    started = NOW - timedelta(minutes=minutes)
    ended = None if lasted is None else started + timedelta(minutes=lasted)
    fields: dict[str, Any] = {
        "namespace": "shop",
        "name": "old",
        "workflow": "fix",
        "target": "uid-web",
    } | more
    return Past(
        uid or f"run-{minutes}",
        started=started,
        ended=ended,
        verdict=verdict if ended else None,
        phase=RunPhase.SUCCEEDED if ended else None,
        **fields,
    )


def decide(*levels: Level, runs: list[Past] | None = None, **more: Any) -> Any:
    runs = sorted(runs or [], key=lambda run: run.started)
    return refusal(SUBJECT, levels, Known(runs, runs, **more), NOW)


# Cooldown


def test_a_run_on_the_same_target_that_ended_lately_holds_the_next_and_says_until_when() -> None:
    found = decide(at_workflow(cooldown="10m"), runs=[a_past(8, lasted=3)])
    assert (found.reason, found.until, found.final) == (Reason.COOLDOWN, NOW + timedelta(minutes=5), False)
    assert found.message == (
        "Cooldown 10m of Workflow fix: run shop/old on Deployment web ended at 2026-03-04 11:55:00Z; until "
        "2026-03-04 12:05:00Z."
    )


def test_a_cooldown_ends_on_the_moment() -> None:
    assert decide(at_workflow(cooldown="10m"), runs=[a_past(10)]) is None
    assert decide(at_workflow(cooldown="10m"), runs=[a_past(9.999)]) is not None


def test_a_workflow_counts_its_own_runs_and_wider_levels_those_of_others() -> None:
    other_workflow, other_namespace = a_past(1, workflow="other"), a_past(1, namespace="tools")
    assert decide(at_workflow(cooldown="10m"), runs=[other_workflow, other_namespace]) is None
    assert decide(at_namespace(cooldown="10m"), runs=[other_workflow]) is not None
    assert decide(at_namespace(cooldown="10m"), runs=[other_namespace]) is None
    assert decide(at_cluster(cooldown="10m"), runs=[other_namespace]) is not None


@pytest.mark.parametrize("verdict", [Verdict.DECLINED, Verdict.NO_ACTION_REQUIRED, Verdict.SELF_HEALED])
def test_runs_that_changed_nothing_wear_nothing_out(verdict: Verdict) -> None:
    levels = at_workflow(cooldown="10m", maxPerHour=1, storm={"runs": 1})
    assert decide(levels, runs=[a_past(1, verdict=verdict)]) is None


def test_a_run_whose_only_changes_were_made_under_finally_counts_whatever_its_verdict() -> None:
    past = a_past(1, verdict=Verdict.NO_ACTION_REQUIRED, acted=True)
    assert decide(at_workflow(cooldown="10m"), runs=[past]) is not None


def test_a_run_that_was_lost_sight_of_counts() -> None:
    assert decide(at_workflow(cooldown="10m"), runs=[a_past(1, verdict=None)]) is not None


# In an hour


def test_as_many_runs_as_may_in_an_hour_hold_the_next_until_the_oldest_of_them_is_an_hour_old() -> None:
    runs = [a_past(55), a_past(40), a_past(20)]
    assert decide(at_workflow(maxPerHour=4), runs=runs) is None
    found = decide(at_workflow(maxPerHour=3), runs=runs)
    assert (found.reason, found.until) == (Reason.TOO_MANY_RUNS, NOW + timedelta(minutes=5))
    assert decide(at_workflow(maxPerHour=2), runs=runs).until == NOW + timedelta(minutes=20)
    assert decide(at_workflow(maxPerHour=3), runs=[a_past(60), *runs[1:]]) is None


def test_a_run_that_goes_on_counts_from_its_beginning() -> None:
    assert decide(at_workflow(maxPerHour=1), runs=[a_past(30, lasted=None)]).until == NOW + timedelta(
        minutes=30
    )


# Storms


def test_a_storm_holds_new_runs_for_its_cooldown_after_the_run_that_made_it_one() -> None:
    storm = Storm(runs=3, within=timedelta(minutes=5), cooldown=timedelta(minutes=15))
    begun = [NOW - timedelta(minutes=m) for m in (8, 7, 4)]
    assert counting.storming(begun, storm, NOW) == begun[-1] + timedelta(minutes=15)
    assert counting.storming(begun, storm, NOW + timedelta(minutes=11)) is None
    assert counting.storming([NOW - timedelta(minutes=m) for m in (10, 7, 4)], storm, NOW) is None
    found = decide(at_cluster(storm={"runs": 2}), runs=[a_past(2, target="a"), a_past(1, namespace="b")])
    assert found.reason is Reason.STORM
    assert "Storm in the cluster: 2 runs began within 5m, so no more begin for 15m; until" in found.message


def test_a_storm_of_a_namespace_does_not_count_others() -> None:
    runs = [a_past(2, namespace="tools"), a_past(1)]
    assert decide(at_namespace(storm={"runs": 2}), runs=runs) is None
    assert decide(at_workflow(storm={"runs": 1}), runs=[a_past(1, workflow="other")]) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cooldown", "24h1s"),
        ("storm", {"runs": 1, "within": "10m", "cooldown": "5m"}),
        ("storm", {"runs": 1, "cooldown": "25h"}),
        ("breaker", {"within": "25h"}),
        ("maxPerHour", 0),
        ("maxUnavailablePercent", 101),
        ("approval", "Sometimes"),
    ],
)
def test_what_no_guard_can_hold_is_no_guard(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Guards.from_wire({field: value})


# Change windows


def window(**fields: Any) -> ChangeWindow:
    return ChangeWindow.model_validate({"name": "w", **fields})


OFFICE = window(
    timeZone="Europe/Berlin", days=["Mon", "Tue", "Wed", "Thu", "Fri"], start="09:00", end="17:00"
)
NIGHT = window(type="Closed", timeZone="America/New_York", start="22:00", end="06:00")


@pytest.mark.parametrize(
    ("now", "allowed"),
    [
        ("2026-03-04T07:59:59Z", False),  # 8:59:59 in Berlin
        ("2026-03-04T08:00:00Z", True),
        ("2026-03-04T15:59:59Z", True),
        ("2026-03-04T16:00:00Z", False),
        ("2026-03-07T12:00:00Z", False),  # a Saturday
        ("2026-07-01T07:00:00Z", True),  # summer time: 9:00
    ],
)
def test_an_open_window_is_open_by_the_clock_on_its_wall(now: str, allowed: bool) -> None:
    assert windows.allowed([OFFICE], datetime.fromisoformat(now)) is allowed


@pytest.mark.parametrize(
    ("now", "allowed"),
    [
        ("2026-01-15T02:59:00Z", True),  # 21:59 in New York
        ("2026-01-15T03:00:00Z", False),
        ("2026-01-15T10:59:00Z", False),
        ("2026-01-15T11:00:00Z", True),
    ],
)
def test_a_window_that_ends_before_it_begins_goes_over_midnight(now: str, allowed: bool) -> None:
    assert windows.allowed([NIGHT], datetime.fromisoformat(now)) is allowed


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday = window(days=["Fri"], start="22:00", end="04:00")
    assert windows.allowed([friday], datetime(2026, 3, 7, 3, 0, tzinfo=UTC))
    assert not windows.allowed([friday], datetime(2026, 3, 6, 3, 0, tzinfo=UTC))


def test_a_closed_window_wins_over_an_open_one_and_dates_bound_it() -> None:
    freeze = window(name="freeze", type="Closed", firstDate="2026-12-20", lastDate="2027-01-02")
    assert not windows.allowed([OFFICE, freeze], datetime(2026, 12, 22, 10, tzinfo=UTC))
    assert windows.allowed([OFFICE, freeze], datetime(2027, 1, 4, 10, tzinfo=UTC))
    until = windows.next_allowed([OFFICE, freeze], datetime(2026, 12, 22, 10, tzinfo=UTC))
    assert until == datetime(2027, 1, 4, 8, 0, tzinfo=UTC)


def test_the_next_time_is_found_over_a_change_of_summer_time() -> None:
    late = window(timeZone="Europe/Berlin", start="02:30", end="03:30")
    # On 29 March 2026 the clock in Berlin goes from 2:00 to 3:00.
    until = windows.next_allowed([late], datetime(2026, 3, 29, 0, 45, tzinfo=UTC))
    assert until is not None
    assert windows.allowed([late], until)


def test_a_window_that_a_clock_jumps_into_opens_as_it_jumps() -> None:
    # On 27 September 2026 the clock of the Chatham Islands goes from 2:45 to 3:45, at 14:00 UTC.
    early = window(timeZone="Pacific/Chatham", start="03:15", end="18:00")
    until = windows.next_allowed([early], datetime(2026, 9, 26, 8, 21, tzinfo=UTC))
    assert until == datetime(2026, 9, 26, 14, 0, tzinfo=UTC)


def test_the_line_for_a_window_names_it_its_zone_and_when_it_opens() -> None:
    level = at_cluster(changeWindows=[OFFICE.wire()])
    found = refusal(SUBJECT, [level], Known(), datetime(2026, 3, 6, 20, 0, tzinfo=UTC))
    assert found is not None
    assert found.message == (
        "No changes by changeWindows of the cluster: outside of w (Mon/Tue/Wed/Thu/Fri 09:00-17:00 Europe/Berlin), "
        "now Fri 21:00; until 2026-03-09 08:00:00Z."
    )
    assert found.until == datetime(2026, 3, 9, 8, 0, tzinfo=UTC)


def test_zones_and_dates_that_do_not_exist_are_told_with_their_path() -> None:
    guards = Guards.model_validate(
        {
            "changeWindows": [
                {"name": "a", "timeZone": "Europe/Atlantis", "firstDate": "2026-02-30"},
                {
                    "name": "b",
                    "firstDate": "2026-03-02",
                    "lastDate": "2026-03-01",
                    "start": "10:00",
                    "end": "10:00",
                },
            ]
        }
    )
    assert [path for path, _ in guard_problems(guards, "spec.guards")] == [
        "spec.guards.changeWindows[0].timeZone",
        "spec.guards.changeWindows[0].firstDate",
        "spec.guards.changeWindows[1].lastDate",
        "spec.guards.changeWindows[1].start",
    ]


# Alerts

FIRING = {"alertname": "KubeNodeNotReady", "zone": "a"}


def test_a_named_alert_that_fires_holds_and_another_does_not() -> None:
    level = at_cluster(stopWhileFiring=[{"alert": "KubeNodeNotReady", "matchLabels": {"zone": "a"}}])
    fires = Alerts(({"alertname": "Other"}, FIRING), asked_at=NOW)
    found = decide(level, alerts=fires)
    assert found.reason is Reason.ALERT_FIRING
    assert (
        found.message
        == "Alert KubeNodeNotReady, zone=a fires (stopWhileFiring of the cluster); until it is silent."
    )
    assert decide(level, alerts=Alerts(({**FIRING, "zone": "b"},), asked_at=NOW)) is None
    assert decide(level, alerts=Alerts((FIRING,), asked_at=NOW, lacks="new")).reason is Reason.ALERT_FIRING


@pytest.mark.parametrize(
    "unknown",
    [
        Alerts(),
        Alerts(trouble="it is away"),
        Alerts(asked_at=NOW - timedelta(seconds=15)),
        Alerts((FIRING,), trouble="it is away", asked_at=NOW),
        Alerts(asked_at=NOW, lacks="it has just started"),
    ],
)
def test_what_is_not_known_of_alerts_is_never_a_pass(unknown: Alerts) -> None:
    found = decide(at_cluster(stopWhileFiring=[{"alert": "KubeNodeNotReady"}]), alerts=unknown)
    assert found.reason is Reason.ALERTS_UNKNOWN


# Protection


def test_what_is_protected_is_refused_for_good_whatever_else_holds() -> None:
    found = decide(at_cluster(protectedNamespaces=["sh*"]), at_workflow(cooldown="10m"), runs=[a_past(1)])
    assert (found.reason, found.final) == (Reason.PROTECTED, True)
    assert "namespace shop is protected by guards of the cluster (sh*)" in found.message.lower()
    found = decide(at_namespace(protectedLabels=[{"key": "app", "value": "web"}]))
    assert found.final
    assert "Deployment web: label app: 'web' is protected by guards of namespace shop" in found.message


def test_names_and_values_are_compared_as_a_whole() -> None:
    assert decide(at_cluster(protectedNamespaces=["sho", "shop-a"])) is None
    assert decide(at_cluster(protectedLabels=[{"key": "app", "value": "we"}])) is None
    assert decide(at_cluster(protectedLabels=[{"key": "app"}])) is not None


def test_guards_that_are_not_understood_let_nothing_begin() -> None:
    found = decide(Level(Reach.CLUSTER, "", Guards(), "entry guards.cluster is not YAML"))
    assert (found.reason, found.final) == (Reason.GUARDS_INVALID, False)


# Levels


@pytest.mark.parametrize(
    ("workflow", "namespace", "cluster", "counts"),
    [
        (None, None, None, "Never"),
        ("Never", "OnRisk", None, "OnRisk"),
        ("Never", None, "Always", "Always"),
        ("OnRisk", "Never", "Never", "OnRisk"),
        ("ByPolicy", None, None, "OnRisk"),
        ("ByPolicy", "Never", None, "Never"),
        ("ByPolicy", "ByPolicy", "Never", "Never"),
        ("ByPolicy", "ByPolicy", None, "OnRisk"),
        (None, "ByPolicy", "Always", "Always"),
        ("Always", "Never", "Never", "Always"),
    ],
)
def test_the_strictest_approval_counts_and_by_policy_leaves_it_to_wider_levels(
    workflow: str | None, namespace: str | None, cluster: str | None, counts: str
) -> None:
    levels = [at_workflow(approval=workflow), at_namespace(approval=namespace), at_cluster(approval=cluster)]
    assert approval(levels)[0] == ApprovalPolicy(counts)


def test_the_shortest_wait_and_the_longest_memory_count() -> None:
    levels = [at_workflow(waitAtMost="2h", cooldown="5m"), at_cluster(waitAtMost="30m", storm={"runs": 9})]
    assert wait_at_most(levels) == timedelta(minutes=30)
    assert wait_at_most([]) == timedelta(hours=1)
    assert lookback(levels) == timedelta(minutes=20)
    assert lookback([at_workflow(maxPerHour=1)]) == timedelta(hours=1)
    assert lookback([at_workflow(approval="Always")]) == timedelta(0)


# The breaker of high risk


def bad(minutes: float, verdict: Verdict, phase: RunPhase = RunPhase.FAILED) -> Past:
    started = NOW - timedelta(minutes=minutes)
    name = f"bad-{minutes}"
    return Past(name, "shop", name, "fix", "t", started, started, phase, verdict, ("drain_node",))


@pytest.mark.parametrize(
    ("verdict", "phase", "counts"),
    [
        (Verdict.NOT_FIXED, RunPhase.FAILED, True),
        (Verdict.ROLLED_BACK, RunPhase.FAILED, True),
        (Verdict.INCONCLUSIVE, RunPhase.FAILED, True),
        (Verdict.INCONCLUSIVE, RunPhase.CANCELLED, True),
        (Verdict.INCONCLUSIVE, RunPhase.SUCCEEDED, False),
        (Verdict.REMEDIATED, RunPhase.SUCCEEDED, False),
        (Verdict.NO_ACTION_REQUIRED, RunPhase.SUCCEEDED, False),
        (Verdict.DECLINED, RunPhase.FAILED, False),
        (Verdict.SELF_HEALED, RunPhase.SUCCEEDED, False),
    ],
)
def test_which_ends_are_bad(verdict: Verdict, phase: RunPhase, counts: bool) -> None:
    assert bool(counting.tripped([bad(1, verdict, phase)], Breaker(bad_runs=1), NOW)) is counts


def test_without_a_word_three_bad_runs_in_a_day_open_the_breaker_of_the_namespace() -> None:
    runs = [bad(minutes, Verdict.NOT_FIXED) for minutes in (5, 100, 1000)]
    says = guarded([], None, "shop", "fix", {"drain_node": runs}, NOW)
    assert says.tripped == {
        "drain_node": "the breaker of drain_node is open in namespace shop: 3 runs with it ended badly within 24h, "
        "the last shop/bad-5 (NotFixed)"
    }
    assert guarded([], None, "shop", "fix", {"drain_node": runs[1:]}, NOW).tripped == {}
    assert guarded([], None, "tools", "fix", {"drain_node": runs}, NOW).tripped == {}
    later = NOW + timedelta(hours=24) - timedelta(minutes=1000)
    assert guarded([], None, "shop", "fix", {"drain_node": runs}, later).tripped == {}


def test_a_breaker_of_a_workflow_comes_beside_that_of_the_namespace() -> None:
    own = at_workflow(breaker={"badRuns": 1, "within": "1h"})
    assert [level.reach for level, _ in breakers([own], "shop")] == [Reach.WORKFLOW, Reach.NAMESPACE]
    assert [level.reach for level, _ in breakers([at_cluster(breaker={"badRuns": 9})], "shop")] == [
        Reach.CLUSTER
    ]
    says = guarded([own], None, "shop", "fix", {"drain_node": [bad(5, Verdict.NOT_FIXED)]}, NOW)
    assert "open in Workflow fix" in says.tripped["drain_node"]


# Health


@pytest.mark.parametrize(
    ("manifest", "counted"),
    [
        ({"kind": "Deployment", "spec": {"replicas": 4}, "status": {"availableReplicas": 3}}, (1, 4)),
        ({"kind": "Deployment", "spec": {}, "status": {}}, (1, 1)),
        ({"kind": "StatefulSet", "spec": {"replicas": 2}, "status": {"availableReplicas": 3}}, (0, 2)),
        ({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 5, "numberAvailable": 2}}, (3, 5)),
        ({"kind": "Pod", "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, (0, 1)),
        ({"kind": "Pod"}, (1, 1)),
        ({"kind": "Node"}, None),
    ],
)
def test_what_is_unavailable_is_as_the_status_says(manifest: dict[str, Any], counted: Any) -> None:
    assert health.unavailable(manifest) == counted


def test_a_share_is_rounded_down_to_whole_replicas() -> None:
    assert health.too_many(1, 3, 25)
    assert not health.too_many(1, 4, 25)
    assert not health.too_many(0, 0, 0)
