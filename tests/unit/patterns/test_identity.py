from __future__ import annotations

from kubernaut.patterns.identity import match, new_identity


def runs(first: int, last: int) -> list[str]:
    return [f"run-{n}" for n in range(first, last)]


HISTORY = set(runs(0, 1_000))


def test_on_a_split_the_largest_heir_keeps_the_identity() -> None:
    matching = match({"a": runs(0, 10)}, [runs(0, 4), runs(4, 10)], HISTORY)
    assert [m.pattern for m in matching.clusters] == [None, "a"]
    assert matching.clusters[1].changed


def test_on_a_merge_the_largest_forebear_lives_on_and_the_other_names_its_heir() -> None:
    matching = match({"a": runs(0, 7), "b": runs(7, 10)}, [runs(0, 10)], HISTORY)
    assert [m.pattern for m in matching.clusters] == ["a"]
    assert matching.heirs == {"b": 0}


def test_growth_alone_changes_neither_identity_nor_version() -> None:
    matching = match({"a": runs(0, 5)}, [runs(0, 500)], HISTORY)
    assert matching.clusters[0].pattern == "a"
    assert not matching.clusters[0].changed


def test_runs_that_retention_dropped_change_nothing() -> None:
    matching = match({"a": runs(0, 100)}, [runs(90, 110)], set(runs(90, 110)))
    assert matching.clusters[0].pattern == "a"
    assert not matching.clusters[0].changed


def test_members_that_became_noise_count_against_the_overlap() -> None:
    matching = match({"a": runs(0, 10)}, [runs(0, 6)], HISTORY)
    assert matching.clusters[0].overlap == 0.6
    assert matching.clusters[0].changed


def test_a_pattern_that_was_merged_and_parts_again_is_recognised() -> None:
    former = {"a": runs(0, 10), "b": runs(7, 10)}
    matching = match(former, [runs(0, 7), runs(7, 10)], HISTORY)
    assert [m.pattern for m in matching.clusters] == ["a", "b"]


def test_a_small_overlap_is_another_pattern() -> None:
    matching = match({"a": runs(0, 100)}, [runs(90, 100)], HISTORY)
    assert matching.clusters[0].pattern is None
    assert matching.heirs == {"a": 0}


def test_a_pattern_without_runs_has_no_heir() -> None:
    assert match({"a": runs(0, 5)}, [], HISTORY).heirs == {"a": None}


def test_a_new_identity_hangs_on_the_oldest_run_and_is_never_taken() -> None:
    first = new_identity(runs(0, 3), set())
    second = new_identity(runs(0, 3), {first})
    assert first == new_identity(runs(0, 9), set())
    assert second == new_identity(runs(1, 3), set()) != first
    assert len(first) == 16
