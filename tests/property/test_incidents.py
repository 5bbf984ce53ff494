"""Incidents over generated outages: exactly one run each, however often and by whom alerts are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.core.incidents import Alarm, Episode, Opens, decide, read_episode

START = datetime(2026, 3, 4, tzinfo=UTC)
COOLDOWN = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Firing:
    """One alert that fires from one minute to another."""

    name: str
    since: int
    until: int


@st.composite
def outages(draw: st.DrawFn) -> list[list[Firing]]:
    """Return outages further apart than a cooldown; the alerts of each overlap, or are less than one apart."""
    found: list[list[Firing]] = []
    clock = 0
    for _ in range(draw(st.integers(1, 4))):
        firings: list[Firing] = []
        until = clock
        for _ in range(draw(st.integers(1, 5))):
            since = draw(st.integers(clock, until + 9))
            end = since + draw(st.integers(1, 90))
            name = draw(st.sampled_from("abc"))
            # One alert can't fire twice at once.
            if any(one.name == name and one.until >= since for one in firings):
                continue
            firings.append(Firing(name, since, end))
            until = max(until, end)
        found.append(firings)
        clock = until + 11 + draw(st.integers(0, 300))
    return found


def alarm(one: Firing, *, firing: bool) -> Alarm:
    ends = None if firing else START + one.until * MINUTE
    return Alarm(one.name, START + one.since * MINUTE, ends)


@settings(max_examples=300)
@given(st.data(), outages())
def test_every_outage_has_one_run_however_its_alerts_are_told(
    data: st.DataObject, all_of: list[list[Firing]]
) -> None:
    stored: list[str] = []
    runs = 0

    def tell(alarms: list[Alarm], minute: int) -> None:
        nonlocal runs
        # Nothing is remembered but what the last run keeps: as after a restart, and by any replica.
        last = read_episode(len(stored), stored[-1], START) if stored else None
        decision = decide(last, alarms, START + minute * MINUTE, COOLDOWN)
        if isinstance(decision, Opens):
            assert decision.episode.number == len(stored) + 1
            stored.append(decision.episode.written())
            runs += 1
        elif decision is not None:
            # Who joined what fires is written a little later, and lost where the operator is killed before; what is
            # resolved or fires again is written at once.
            assert last is not None
            lasting = last.resolved_at is None and all(one.ends_at is None for one in alarms)
            if not lasting or not data.draw(st.booleans(), label="lost"):
                stored[-1] = decision.episode.written()

    for number, firings in enumerate(all_of, 1):
        minutes = sorted({one.since for one in firings} | {one.until for one in firings})
        told_ended: set[Firing] = set()
        for minute in minutes:
            # Alertmanager tells all of a group that fires, and what was resolved once.
            begun = [one for one in firings if one.since <= minute and one not in told_ended]
            begun = data.draw(st.permutations(begun), label="order")
            newest = {one.name: one.since for one in sorted(begun, key=lambda one: one.since)}
            group = [one for one in begun if newest[one.name] == one.since]
            told_ended |= {one for one in firings if one.until <= minute}
            alarms = [alarm(one, firing=one.until > minute) for one in group]
            for _ in range(data.draw(st.integers(1, 2), label="told")):
                tell(alarms, minute)
        assert runs == number, stored


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 50), st.integers(0, 50) | st.none()), min_size=1
    )
)
def test_what_is_kept_comes_back_as_it_was(told: list[tuple[str, int, int | None]]) -> None:
    episode = Episode(1, COOLDOWN)
    for name, since, length in told:
        begin = START + since * MINUTE
        end = None if length is None else begin + length * MINUTE
        episode = episode.fold([Alarm(name, begin, end)], begin)
    assert read_episode(1, episode.written(), START) == episode
