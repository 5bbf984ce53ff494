from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.synthetic_runs import FAMILIES, history
from kubernaut.history.errors import HistoryUnavailable
from kubernaut.history.pages import PatternRecord, RunBatch
from kubernaut.history.records import RunRecord
from kubernaut.patterns import analysis as module
from kubernaut.patterns.analysis import Analysis
from kubernaut.patterns.settings import AnalystSettings
from unit.patterns.memory import MemorySink, MemorySource, MemoryStore


class World:
    """One history, its store and objects, and a clock; analysts come and go."""

    def __init__(self, runs: int = 30, batch: int = 2_000) -> None:
        self.settings = AnalystSettings(batch=batch)
        self.all = [record for record, _ in history(2_000, stray=0)]
        self.source = MemorySource(self.all[:runs])
        self.store, self.sink = MemoryStore(), MemorySink()
        self.clock = 0.0
        self.analysis = self.restarted()

    def restarted(self) -> Analysis:
        self.analysis = Analysis(
            self.source,
            self.store,
            self.sink,
            self.settings,
            now=lambda: datetime(2026, 2, 1, tzinfo=UTC) + timedelta(seconds=self.clock),
            monotonic=lambda: self.clock,
        )
        return self.analysis

    def grow(self, runs: int) -> list[RunRecord]:
        more = self.all[len(self.source.runs) : len(self.source.runs) + runs]
        self.source.runs.extend(more)
        return more

    def writes(self) -> int:
        return self.store.writes + self.sink.writes


async def test_a_first_round_keeps_and_publishes_what_it_finds() -> None:
    world = World()
    done = await world.analysis.round()
    assert (done.runs, done.read, done.clustered, done.patterns) == (30, 30, True, 5)
    assert (done.objects_created, done.objects_patched, done.vectors_written) == (5, 5, 30)
    assert set(world.sink.objects) == {one.name for one in world.store.patterns.values()}
    assert {len(vector) for vector in world.store.features.values()} == {
        len(next(iter(world.store.sets.values()))["terms"])
    }
    name = next(iter(world.sink.objects))
    assert world.sink.condition(name, "Ready")["status"] == "True"
    assert world.sink.condition(name, "Active")["status"] == "True"
    assert world.sink.status(name)["observedGeneration"] == 1


async def test_a_second_round_writes_nothing_nor_does_a_restarted_analyst() -> None:
    world = World()
    await world.analysis.round()
    before = world.writes()
    done = await world.analysis.round()
    assert not done.clustered
    await world.restarted().round()
    assert world.writes() == before


async def test_new_runs_keep_names_and_write_only_what_a_person_would_notice() -> None:
    world = World(1_000)
    await world.analysis.round()
    names = set(world.sink.objects)
    world.grow(5)
    done = await world.analysis.round()
    assert (done.read, done.vectors_written, done.objects_patched) == (5, 5, 0)
    world.grow(50)
    assert (await world.analysis.round()).objects_patched == 5
    assert set(world.sink.objects) == names


async def test_a_crash_after_keeping_and_before_publishing_loses_nothing() -> None:
    world = World()
    await world.analysis.round()
    wanted = set(world.sink.objects)
    world.sink.objects.clear()
    done = await world.restarted().round()
    assert (done.patterns_written, done.objects_created) == (0, 5)
    assert set(world.sink.objects) == wanted


async def test_a_crash_after_a_new_feature_set_leaves_no_run_without_its_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(batch=10)
    await world.analysis.round()
    strangers = [replace(run, symptoms=("DiskPressure",)) for run in world.grow(6)]
    world.source.runs[-6:] = strangers
    save = world.store.save_patterns

    async def ends(records: Sequence[PatternRecord], *given: Any, **more: Any) -> None:
        if records:
            raise HistoryUnavailable("Postgres went away")
        await save(records, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save_patterns", ends)
        with pytest.raises(HistoryUnavailable):
            await world.analysis.round()
    assert len(world.store.sets) == 2
    assert (await world.restarted().round()).vectors_written == 36


async def test_a_lost_store_gives_the_same_objects_again() -> None:
    world = World()
    await world.analysis.round()
    wanted, written = set(world.sink.objects), world.sink.writes
    world.store = MemoryStore()
    await world.restarted().round()
    assert set(world.sink.objects) == wanted
    assert world.sink.writes == written


async def test_an_object_that_someone_else_writes_waits_for_the_next_round() -> None:
    world = World()
    await world.analysis.round()
    name = next(iter(world.sink.objects))
    world.sink.busy.add(name)
    world.grow(30)
    assert (await world.analysis.round()).conflicts == 1
    world.sink.busy.clear()
    done = await world.analysis.round()
    assert (done.conflicts, done.objects_patched) == (0, 1)


async def test_what_people_say_in_spec_is_acknowledged_and_kept() -> None:
    world = World()
    await world.analysis.round()
    name, stored = next(iter(world.sink.objects.items()))
    stored["spec"]["pinned"] = True
    stored["metadata"]["generation"] = 2
    assert (await world.analysis.round()).objects_patched == 1
    assert world.sink.status(name)["observedGeneration"] == 2
    assert stored["spec"]["pinned"] is True


async def test_a_vanished_pattern_is_said_to_be_inactive_and_comes_back_under_its_name() -> None:
    world = World()
    await world.analysis.round()
    name = next(name for name in world.sink.objects if name.startswith("scaled-to-zero"))
    scaled = [run for run in world.source.runs if run.workflow == "scale-up"]
    world.source.runs = [run for run in world.source.runs if run.workflow != "scale-up"]
    done = await world.restarted().round()
    assert (done.patterns, done.retired) == (4, 1)
    assert world.sink.condition(name, "Active")["status"] == "False"
    assert world.sink.condition(name, "Active")["reason"] == "Vanished"
    before = world.writes()
    await world.restarted().round()
    assert world.writes() == before
    world.source.runs += scaled
    await world.restarted().round()
    assert world.sink.condition(name, "Active")["status"] == "True"
    assert len(world.sink.objects) == 5


async def test_a_long_history_is_assigned_to_between_clusterings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_CLUSTER", 100)
    world = World(500)
    await world.analysis.round()
    world.grow(20)
    done = await world.analysis.round()
    assert (done.clustered, done.noise, done.read) == (False, 0, 20)
    assert sum(len(uids) for uids in world.store.members.values()) == 520
    world.grow(40)
    assert (await world.analysis.round()).clustered


async def test_runs_that_were_read_before_the_history_went_away_are_assigned_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ALWAYS_CLUSTER", 100)
    world = World(2_000 - 30)
    await world.analysis.round()
    world.grow(20)
    read, asked = world.source.finished_runs_after, 0

    async def once(position: int = 0, *, limit: int = 2000, details: bool = False) -> RunBatch[RunRecord]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise HistoryUnavailable("Postgres went away")
        return await read(position, limit=limit, details=details)

    monkeypatch.setattr(world.source, "finished_runs_after", once)
    with pytest.raises(HistoryUnavailable):
        await world.analysis.round()
    world.grow(10)
    done = await world.analysis.round()
    assert (done.clustered, done.read) == (False, 30)
    assert sum(len(uids) for uids in world.store.members.values()) + done.noise == 2_000


async def test_a_long_history_is_clustered_when_enough_strangers_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ALWAYS_CLUSTER", 100)
    world = World(500)
    await world.analysis.round()
    strangers = [
        replace(run, symptoms=("DiskPressure",), target_kind="StatefulSet") for run in world.grow(15)
    ]
    world.source.runs[-15:] = strangers[:5]
    assert not (await world.analysis.round()).clustered
    world.source.runs += strangers[5:]
    done = await world.analysis.round()
    assert (done.clustered, done.patterns) == (True, 6)


async def test_a_long_history_is_clustered_on_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_CLUSTER", 100)
    world = World(500)
    await world.analysis.round()
    world.clock += 700
    assert not (await world.analysis.round()).clustered
    world.grow(1)
    assert (await world.analysis.round()).clustered


async def test_runs_that_retention_dropped_are_forgotten_after_a_while() -> None:
    world = World(60)
    await world.analysis.round()
    world.source.runs = world.source.runs[30:]
    assert (await world.analysis.round()).runs == 60
    world.clock += 3_601
    assert (await world.analysis.round()).runs == 30


async def test_a_record_that_comes_again_moves_its_run() -> None:
    world = World(30)
    await world.analysis.round()
    again = replace(world.source.runs[0], symptoms=("ScaledToZero",))
    world.source.runs.append(again)
    done = await world.analysis.round()
    assert (done.clustered, done.runs) == (True, 30)
    assert len(FAMILIES) == done.patterns


async def test_a_crash_after_publishing_and_before_the_vectors_writes_them_later() -> None:
    world = World()
    await world.analysis.round()
    world.store.features.clear()
    world.store.position = 0
    done = await world.restarted().round()
    assert (done.vectors_written, done.patterns_written, done.objects_patched) == (30, 0, 0)
    assert set(world.store.features) == {run.uid for run in world.source.runs}


@pytest.mark.parametrize(
    "symptoms",
    [("ExitCode\u00b2",), ("ExitCode" + "9" * 5_000,), ("x" * 300 + "a", "x" * 300 + "b"), ("=", "\x1b[31m")],
)
async def test_whatever_a_workflow_calls_a_symptom_does_not_end_the_analysis(
    symptoms: tuple[str, ...],
) -> None:
    world = World(30)
    world.source.runs += [replace(run, symptoms=symptoms) for run in world.all[30:60]]
    assert (await world.analysis.round()).patterns == 6


async def test_runs_that_began_before_their_machine_knew_the_time_do_not_end_the_analysis() -> None:
    world = World(30)
    world.source.runs = [replace(run, duration_seconds=1.78e9) for run in world.source.runs]
    assert (await world.analysis.round()).patterns == 5
    assert {world.sink.status(name)["recommended"]["medianSeconds"] for name in world.sink.objects} == {0}


async def test_nothing_is_recommended_from_a_pattern_that_is_muted() -> None:
    world = World()
    await world.analysis.round()
    name = next(name for name in world.sink.objects if "recommended" in world.sink.status(name))
    spec = world.sink.objects[name]["spec"]
    spec["muted"] = True
    await world.analysis.round()
    assert "recommended" not in world.sink.status(name)
    assert "muted, so no Workflow is recommended" in world.sink.status(name)["signature"]["summary"]
    written = world.sink.writes
    await world.analysis.round()
    assert world.sink.writes == written
    spec["muted"] = False
    await world.analysis.round()
    assert "usually repaired by" in world.sink.status(name)["signature"]["summary"]
    assert "recommended" in world.sink.status(name)


async def test_a_pattern_that_vanished_recommends_nothing_either_once_it_is_muted() -> None:
    world = World()
    await world.analysis.round()
    world.source.runs = []
    await world.restarted().round()
    name = next(name for name in world.sink.objects if "recommended" in world.sink.status(name))
    world.sink.objects[name]["spec"]["muted"] = True
    await world.analysis.round()
    assert "recommended" not in world.sink.status(name)


async def test_what_was_learned_from_a_history_that_is_lost_is_said_to_be_no_more() -> None:
    world = World()
    await world.analysis.round()
    runs, world.source.runs, world.store = world.source.runs, [], MemoryStore()
    names = set(world.sink.objects)
    theirs = next(iter(names))
    world.sink.objects[theirs]["metadata"]["labels"] = {}
    await world.restarted().round()
    gone = {name for name in names if world.sink.condition(name, "Active")["status"] == "False"}
    assert gone == names - {theirs}
    written = world.sink.writes
    await world.analysis.round()
    assert world.sink.writes == written
    world.source.runs += runs
    await world.restarted().round()
    assert {world.sink.condition(name, "Active")["status"] for name in names} == {"True"}


async def test_what_people_say_of_a_pattern_that_is_forgotten_is_acknowledged() -> None:
    world = World()
    await world.analysis.round()
    name = next(name for name in world.sink.objects if name.startswith("scaled-to-zero"))
    world.source.runs = [run for run in world.source.runs if run.workflow != "scale-up"]
    await world.restarted().round()
    said = world.sink.condition(name, "Active")
    world.clock += 31 * 86_400
    world.sink.objects[name]["metadata"]["generation"] = 2
    assert (await world.restarted().round()).objects_patched == 1
    assert world.sink.status(name)["observedGeneration"] == 2
    assert world.sink.condition(name, "Active") == {**said, "observedGeneration": 2}
