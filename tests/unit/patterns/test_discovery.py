from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from bench.synthetic_runs import FAMILIES, history
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.patterns.assign import Assigner, extend
from kubernaut.patterns.clustering import Hdbscan
from kubernaut.patterns.discovery import Discovery, FormerPattern, discover
from kubernaut.patterns.report import Space, extent, report
from kubernaut.patterns.signature import count_terms
from kubernaut.patterns.table import RunTable


def table_of(runs: int, **options: object) -> tuple[RunTable, list[int]]:
    table, truth = RunTable(), []
    for record, family in history(runs, **options):  # type: ignore[arg-type]
        table.extend([record])
        truth.append(family)
    return table, truth


def labels(table: RunTable, found: Discovery) -> list[int]:
    out = [-1] * len(table)
    for label, pattern in enumerate(found.patterns):
        for at in pattern.members:
            out[at] = label
    return out


def remembered(table: RunTable, found: Discovery) -> dict[str, FormerPattern]:
    return {
        p.id: FormerPattern(p.id, p.name, p.version, True, frozenset(table.uids[at] for at in p.members))
        for p in found.patterns
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("runs", [25, 30, 200, 1_000])
def test_the_five_families_come_back_as_five_patterns(runs: int, seed: int) -> None:
    table, truth = table_of(runs, seed=seed)
    found = discover(table, {}, Hdbscan())
    assert len(found.patterns) == len(FAMILIES)
    assert adjusted_rand_score(truth, labels(table, found)) >= 0.95


def test_a_pattern_says_what_it_is_and_what_helps() -> None:
    table, _ = table_of(50, stray=0)
    found = {
        p.status.recommended.workflow: p
        for p in discover(table, {}, Hdbscan()).patterns
        if p.status.recommended
    }
    memory = found["increase-memory"]
    assert memory.status.signature is not None
    assert memory.status.signature.summary.startswith(
        "Deployments whose pods are OOMKilled (100 % vs 0 % elsewhere)"
    )
    assert "usually repaired by increase-memory" in memory.status.signature.summary
    assert re.fullmatch(r"oom-killed-[0-9a-f]{8}", memory.name)
    assert memory.status.support == 10
    assert memory.status.success is not None
    assert memory.status.success.concluded == 10
    assert len(memory.status.exemplars) == 5
    assert memory.status.quality is not None
    assert memory.status.quality.silhouette is not None
    assert memory.status.quality.silhouette > 0.5
    assert "Deployments that are scaled to zero" in found["scale-up"].status.signature.summary  # type: ignore[union-attr]


def test_what_is_found_is_a_valid_object() -> None:
    table, _ = table_of(200)
    for pattern in discover(table, {}, Hdbscan()).patterns:
        wire = DiscoveredPattern(status=pattern.status).wire()
        assert DiscoveredPattern.model_validate(wire).status == pattern.status


def test_an_empty_history_has_no_patterns() -> None:
    found = discover(RunTable(), {}, Hdbscan())
    assert (found.patterns, found.noise) == ((), 0)


def test_a_young_history_of_one_fault_is_one_pattern() -> None:
    table, _ = table_of(6, families=FAMILIES[2:3], stray=0)
    assert [p.status.support for p in discover(table, {}, Hdbscan()).patterns] == [6]


def test_clustering_again_gives_the_same_names_and_versions() -> None:
    table, _ = table_of(30)
    first = discover(table, {}, Hdbscan())
    again = discover(table, remembered(table, first), Hdbscan(), first.features)
    assert [(p.id, p.name, p.version) for p in again.patterns] == [
        (p.id, p.name, p.version) for p in first.patterns
    ]
    assert {p.status.quality.stability for p in again.patterns if p.status.quality} == {1.0}


def test_a_lost_memory_gives_the_same_names_again() -> None:
    table, _ = table_of(60)
    assert [p.name for p in discover(table, {}, Hdbscan()).patterns] == [
        p.name for p in discover(table, {}, Hdbscan()).patterns
    ]


def test_a_pattern_whose_runs_are_gone_is_retired() -> None:
    table, _ = table_of(30, stray=0)
    first = discover(table, {}, Hdbscan())
    rest = RunTable()
    rest.extend(r for r, family in history(30, stray=0) if family != 3)
    gone = next(p for p in first.patterns if p.name.startswith("scaled-to-zero"))
    again = discover(rest, remembered(table, first), Hdbscan())
    assert again.retired == {gone.id: ""}
    assert {p.id for p in again.patterns} == {p.id for p in first.patterns} - {gone.id}


def test_new_runs_join_the_pattern_of_their_kind_and_strangers_none() -> None:
    runs = [record for record, _ in history(120, stray=0)]
    table = RunTable()
    table.extend(runs[:100])
    found = discover(table, {}, Hdbscan())
    added = table.extend(runs[100:])
    stranger, _ = next(history(1, seed=9, stray=0))
    added += table.extend([replace(stranger, symptoms=("DiskPressure",), target_kind="StatefulSet")])
    grown = extend(found, table, added)
    assert sorted(p.status.support for p in grown.patterns) == [24] * 5
    assert grown.noise == 1
    assert [p.id for p in grown.patterns] == [p.id for p in found.patterns]
    assert all(p.status.last_seen == max(table.finished[at] for at in p.members) for p in grown.patterns)


def test_without_patterns_a_run_is_assigned_to_none() -> None:
    table, _ = table_of(1)
    found = discover(table, {}, Hdbscan())
    assert Assigner.of(found).assign(table.rows[0]) is None


def test_a_record_that_comes_again_replaces_the_former() -> None:
    table, _ = table_of(3)
    record = [r for r, _ in history(3)][1]
    assert table.extend([replace(record, verdict="SelfHealed")]) == [1]
    assert (len(table), table.verdicts[1]) == (3, "SelfHealed")
    assert table.weights().sum() == 3


def test_a_pattern_of_very_many_runs_takes_no_vector_for_each() -> None:
    runs = 100_000
    table, _ = table_of(3)
    columns: list[list[Any]] = [table.look, table.namespaces, table.names, table.workflows]
    for column in (*columns, table.verdicts, table.seconds, table.finished):
        column *= runs // 3
    table.uids = [str(at) for at in range(len(table.look))]
    space = Space(np.zeros((3, 300)), np.ones(3), np.full(3, np.nan))
    tracemalloc.start()
    try:
        where = extent(space, np.asarray(table.look))
        status, _ = report(table, range(len(table.look)), space, count_terms(table.rows, [1, 1, 1]), where)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status.support == 99_999
    assert peak < 60 * 2**20
