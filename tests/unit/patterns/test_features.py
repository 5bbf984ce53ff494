from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.synthetic_runs import history
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.patterns.clustering import RESOLUTION
from kubernaut.patterns.features import FeatureSet
from kubernaut.patterns.terms import RunTerms, octave_of, terms_of


def run() -> RunRecord:
    return next(record for record, _ in history(1, stray=0))


def terms(**changes: object) -> RunTerms:
    base = RunTerms(("CrashLoopBackOff",), (), ("collect_diagnostics",), "Deployment", 4, 3)
    return replace(base, **changes)  # type: ignore[arg-type]


def distance(one: RunTerms, other: RunTerms) -> float:
    rows = [one, other, terms(symptoms=("ScaledToZero",))]
    vectors = FeatureSet.fit(rows, [5, 5, 5]).vectors(rows)
    return float(np.linalg.norm(vectors[0] - vectors[1]))


def test_the_verdict_and_reasons_that_restate_it_change_nothing() -> None:
    good = run()
    bad = replace(good, verdict="NotFixed", phase="Failed", reason="ExpectationNotMet")
    assert terms_of(good) == terms_of(bad)


def test_where_it_happened_changes_nothing_unless_asked_for() -> None:
    here, there = run(), replace(run(), namespace="elsewhere")
    assert terms_of(here) == terms_of(there)
    assert terms_of(here, with_namespace=True) != terms_of(there, with_namespace=True)


def test_only_steps_that_were_performed_count_in_the_order_of_the_plan() -> None:
    steps = (
        StepRecord(name="c", position=2, phase="Skipped", action="restart_pod"),
        StepRecord(
            name="b", position=1, phase="Failed", action="scale_deployment", attempts=2, reason="Conflict"
        ),
        StepRecord(name="a", position=0, phase="Succeeded", action="collect_diagnostics", attempts=1),
        StepRecord(name="w", position=3, phase="Succeeded", action=None, attempts=1),
    )
    seen = terms_of(replace(run(), steps=steps))
    assert seen.actions == ("collect_diagnostics", "scale_deployment")
    assert seen.reasons == ("Conflict",)


def test_features_are_named_and_no_category_is_a_number() -> None:
    one = terms(actions=("collect_diagnostics", "scale_deployment"))
    features = FeatureSet.fit([one], [1])
    assert features.names == (
        "symptom=CrashLoopBackOff",
        "kind=Deployment",
        "action=collect_diagnostics",
        "action=collect_diagnostics>scale_deployment",
        "action=scale_deployment",
        "duration=octaves",
        "time=cos",
        "time=sin",
    )


@pytest.mark.parametrize(
    "other",
    [
        terms(actions=("restart_pod", "scale_deployment")),
        terms(reasons=("MissingRight",)),
        terms(octave=14),
        terms(slot=7),
    ],
)
def test_treatment_reason_duration_or_hour_alone_do_not_part_incidents(other: RunTerms) -> None:
    assert 0 < distance(terms(), other) < RESOLUTION


@pytest.mark.parametrize("other", [terms(symptoms=("OOMKilled",)), terms(kind="StatefulSet")])
def test_another_symptom_or_kind_parts_incidents(other: RunTerms) -> None:
    assert distance(terms(), other) > RESOLUTION


def test_just_before_midnight_is_near_just_after() -> None:
    assert distance(terms(slot=7), terms(slot=0)) < distance(terms(slot=7), terms(slot=3))


def test_a_feature_set_survives_being_stored() -> None:
    rows = [terms(), terms(symptoms=("OOMKilled",))]
    features = FeatureSet.fit(rows, [3, 1])
    again = FeatureSet.from_json(features.to_json())
    assert again == features
    assert again.digest == features.digest
    assert np.array_equal(again.vectors(rows), features.vectors(rows))


def test_a_feature_set_rests_until_enough_runs_have_a_new_term() -> None:
    row, new = terms(), terms(symptoms=("DiskPressure",))
    features = FeatureSet.fit([row], [10])
    assert not features.outdated([row], [1_000])
    assert not features.outdated([row, new], [10, 2])
    assert features.outdated([row, new], [10, 3])
    assert not features.outdated([row, new], [10_000, 9])


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        (("ExitCode137", "OOMKilled"), ("CrashLoopBackOff", "ExitCode137", "OOMKilled")),
        (("OOMKilled",), ("CrashLoopBackOff", "OOMKilled")),
        (("OOMKilled",), ("ExitCode137", "OOMKilled")),
    ],
)
def test_a_consequence_that_shows_only_at_times_does_not_part_incidents(
    sooner: tuple[str, ...], later: tuple[str, ...]
) -> None:
    assert distance(terms(symptoms=sooner), terms(symptoms=later)) < RESOLUTION


def test_a_shared_consequence_does_not_join_incidents_of_different_cause() -> None:
    crash, memory = ("CrashLoopBackOff", "ExitCode3"), ("CrashLoopBackOff", "OOMKilled")
    assert distance(terms(symptoms=crash), terms(symptoms=memory)) > 2 * RESOLUTION


def test_the_two_names_of_a_failing_pull_are_one_symptom() -> None:
    pulling = replace(run(), symptoms=("ErrImagePull", "ImagePullBackOff"))
    assert terms_of(pulling).symptoms == ("ImagePullBackOff",)


def test_the_vocabulary_is_bounded() -> None:
    rows = [terms(symptoms=(f"Symptom{n}",)) for n in range(500)]
    features = FeatureSet.fit(rows, [1] * 500)
    assert len(features.terms) < 250
    assert not features.outdated([*rows, terms(symptoms=("More",))], [1] * 500 + [9])


@pytest.mark.parametrize(
    ("seconds", "octave"), [(None, -1), (-3.0, -1), (float("nan"), -1), (0.0, 0), (1.0, 1), (31.0, 5)]
)
def test_durations_are_kept_in_octaves(seconds: float | None, octave: int) -> None:
    assert octave_of(seconds) == octave
