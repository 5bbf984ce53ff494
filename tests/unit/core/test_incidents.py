"""Which alerts belong to one episode of an incident, and when another begins."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from kubernaut.core.incidents import (
    MOST_ALERTS,
    SILENCE,
    Alarm,
    Episode,
    Joins,
    Opens,
    alert_label,
    decide,
    incident_key,
    over_at,
    read_episode,
    run_name,
)

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
COOLDOWN = timedelta(minutes=10)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def fires(name: str, since: float = 0) -> Alarm:
    return Alarm(name, at(since))


def ended(name: str, until: float, since: float = 0) -> Alarm:
    return Alarm(name, at(since), at(until))


def opened(*alarms: Alarm, now: float = 0) -> Episode:
    decision = decide(None, alarms, at(now), COOLDOWN)
    assert isinstance(decision, Opens)
    return decision.episode


def joined(last: Episode, *alarms: Alarm, now: float) -> Episode:
    decision = decide(last, alarms, at(now), COOLDOWN)
    assert isinstance(decision, Joins)
    return decision.episode


def test_the_first_alert_opens_the_first_episode() -> None:
    episode = opened(fires("a"), fires("b", 1))
    assert episode.number == 1
    assert episode.firing == {"a", "b"}
    assert episode.resolved_at is None


def test_alerts_that_were_resolved_open_nothing() -> None:
    assert decide(None, [ended("a", 3)], at(4), COOLDOWN) is None


def test_another_alert_joins_while_the_first_fires_and_the_same_told_again_changes_nothing() -> None:
    episode = opened(fires("a"))
    both = joined(episode, fires("b", 5), now=5)
    assert both.firing == {"a", "b"}
    again = decide(both, [fires("a"), fires("b", 5)], at(6), COOLDOWN)
    assert again == Joins(both, changed=False)


def test_an_episode_lasts_until_all_its_alerts_are_resolved_and_a_cooldown_has_passed() -> None:
    episode = opened(fires("a"), fires("b"))
    one = joined(episode, ended("a", 3), now=4)
    assert one.resolved_at is None
    both = joined(one, ended("b", 7), now=8)
    assert both.resolved_at == at(7)
    assert both.over_at == at(17)
    within = joined(both, fires("c", 16), now=16)
    assert within.number == 1
    after = decide(both, [fires("c", 18)], at(18), COOLDOWN)
    assert isinstance(after, Opens)
    assert after.episode.number == 2
    assert after.episode.firing == {"c"}


def test_an_alert_that_began_while_the_episode_was_there_belongs_to_it_however_late_it_is_told() -> None:
    episode = joined(opened(fires("a")), ended("a", 3), now=4)
    late = joined(episode, fires("b", 2), now=60)
    assert late.number == 1
    assert late.resolved_at is None


def test_what_was_resolved_is_not_opened_again_by_an_old_word_that_comes_late() -> None:
    episode = joined(opened(fires("a")), ended("a", 3), now=4)
    assert joined(episode, fires("a"), now=60).resolved_at == at(3)


def test_an_old_resolution_does_not_end_what_fires_anew() -> None:
    episode = joined(opened(fires("a")), ended("a", 3), now=4)
    anew = joined(episode, fires("a", 5), now=5)
    assert joined(anew, ended("a", 3), now=6).firing == {"a"}


def test_an_alert_that_fires_anew_was_resolved_meanwhile_though_nobody_told_it() -> None:
    """As where send_resolved is off: the last word on it was an hour before it began anew."""
    episode = joined(opened(fires("a")), fires("a"), now=120)
    assert episode.seen_at == at(120)
    soon = decide(episode, [fires("a", 125)], at(125), COOLDOWN)
    assert isinstance(soon, Joins)
    later = decide(episode, [fires("a", 180)], at(180), COOLDOWN)
    assert isinstance(later, Opens)
    assert later.episode.number == 2


def test_another_alert_that_still_fires_keeps_the_episode_open() -> None:
    episode = opened(fires("a"), fires("b"))
    assert joined(episode, fires("a", 300), now=300).number == 1


def test_an_episode_of_which_nothing_is_heard_for_a_day_is_over() -> None:
    episode = opened(fires("a"))
    day = SILENCE.total_seconds() / 60
    assert joined(episode, fires("b", day), now=day).number == 1
    assert isinstance(decide(episode, [fires("b", day + 11)], at(day + 11), COOLDOWN), Opens)


def test_repeating_itself_is_worth_a_write_now_and_then_only() -> None:
    episode = opened(fires("a"))
    assert decide(episode, [fires("a")], at(10), COOLDOWN) == Joins(episode, changed=False)
    assert joined(episode, fires("a"), now=40).seen_at == at(40)


def test_what_is_kept_on_the_run_is_read_as_it_was_and_says_when_the_incident_is_over() -> None:
    episode = joined(opened(fires("a"), fires("b", 1)), ended("a", 3), now=4)
    text = episode.written()
    assert read_episode(1, text, at(-1)) == episode
    assert over_at(text) == episode.over_at


def _kept(at: str = "2026-03-04T12:00:00Z", seen: str = "2026-03-04T12:00:00Z", cooldown: str = "60") -> str:
    """Return what is kept of an episode, as a person may have written it; an alert fires where that is seen."""
    alerts = f'{{"a": ["{at}"]}}'
    return f'{{"alerts": {alerts}, "seenAt": "{seen}", "cooldownSeconds": {cooldown}, "overAt": "{at[:19]}"}}'


def test_what_can_not_be_read_is_an_episode_that_began_with_its_run() -> None:
    for text in (
        "",
        "{",
        "[]",
        '{"alerts": 3}',
        '{"alerts": {"a": ["x"]}, "seenAt": "x", "cooldownSeconds": 1}',
        "[" * 100_000,
        _kept(at="2026-03-04T12:00:00"),
        _kept(at="9999-12-31T23:59:59-14:00"),
        _kept(seen="2026-03-04T12:00:00"),
        _kept(cooldown="1e13"),
        _kept(cooldown="-1e12"),
    ):
        assert read_episode(3, text, NOON) == Episode(3, seen_at=NOON)
        assert over_at(text) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"seenAt": "2026-03-04T12:00:00"},
        {"cooldownSeconds": -1},
        {"cooldownSeconds": 1e13},
        {"alerts": {"a": ["2026-03-04T12:00:00"]}},
        {"alerts": {"a": ["9999-12-31T23:59:59-10:00"]}},
    ],
)
def test_what_somebody_wrote_there_that_can_not_be_reckoned_with_is_not_believed(
    odd: dict[str, object],
) -> None:
    kept = {**json.loads(opened(fires("a")).written()), **odd}
    assert read_episode(3, json.dumps(kept), NOON) == Episode(3, seen_at=NOON)


def test_an_episode_that_was_heard_of_at_the_end_of_time_ends_all_the_same() -> None:
    kept = {**json.loads(opened(fires("a")).written()), "seenAt": "9999-12-31T23:59:59Z"}
    assert read_episode(3, json.dumps(kept), NOON).over_at > NOON


def test_an_alert_that_ends_at_the_end_of_time_is_kept_like_any_other() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    episode = joined(opened(fires("a")), Alarm("a", at(0), last), now=1)
    assert episode.over_at == last
    assert read_episode(1, episode.written(), NOON) == episode


def test_of_many_alerts_those_that_fire_are_kept() -> None:
    count = MOST_ALERTS
    episode = opened(*(fires(f"{number:05}") for number in range(count)))
    ending = joined(episode, *(ended(f"{number:05}", 1) for number in range(count - 1)), now=2)
    more = joined(ending, *(fires(f"new-{number}", 2) for number in range(20)), now=2)
    assert len(more.alerts) == MOST_ALERTS
    assert len(more.firing) == 21
    # Only ones that had ended were forgotten.
    assert not more.more


def test_that_alerts_which_fire_are_not_kept_is_kept() -> None:
    episode = opened(*(fires(f"{number:05}") for number in range(MOST_ALERTS + 1)))
    assert len(episode.alerts) == MOST_ALERTS
    assert episode.more
    assert read_episode(1, episode.written(), NOON).more
    quiet = joined(episode, *(ended(name, 3) for name in episode.alerts), now=4)
    assert quiet.more
    assert opened(fires("a")).merged(episode).more


def test_two_views_of_an_episode_come_together() -> None:
    episode = opened(fires("a"))
    here = joined(episode, ended("a", 3), now=4)
    there = joined(episode, fires("b", 2), now=2)
    assert here.merged(there).alerts == there.merged(here).alerts
    assert here.merged(there).firing == {"b"}


def test_names_follow_from_what_they_are_for() -> None:
    key = incident_key("workflow", "target", "Alert")
    assert key == incident_key("workflow", "target", "Alert")
    assert (
        len({key, incident_key("workflow", "target", "Other"), incident_key("workflow", "other", "Alert")})
        == 3
    )
    assert run_name("fix", key, 1) == run_name("fix", key, 1)
    assert run_name("fix", key, 1) != run_name("fix", key, 2)
    assert len(run_name("w" * 253, key, 1)) <= 253
    assert alert_label("KubePodCrashLooping") == "KubePodCrashLooping"
    assert len(alert_label("an alert: with blanks")) == 32
