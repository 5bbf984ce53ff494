"""Markers: read back as written, never forged, never carried over, bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.names import marker_annotation
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.marker import MAX_BEFORE_IMAGE, MAX_MARKER, Marker, Signer, StepMark, read_marker

SIGNER = Signer(b"ours")
NAME = marker_annotation("run")
values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=8), st.lists(st.text(max_size=3))
)
images = st.dictionaries(st.text(max_size=8), values, max_size=2)
marks = st.builds(StepMark, st.integers(1, 20), images, images, images, st.booleans())
markers = st.dictionaries(st.text(min_size=1, max_size=8), marks, max_size=3).map(
    lambda steps: Marker("run", "uid", steps)
)


def on(value: str, uid: str = "uid") -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "api", "uid": uid, "annotations": {NAME: value}}}


def written(marker: Marker, signer: Signer = SIGNER) -> str:
    return marker.annotation(signer)[NAME]


@given(markers)
def test_a_marker_is_read_back_as_written(marker: Marker) -> None:
    assert read_marker(on(written(marker)), "run", SIGNER) == marker


@given(markers)
def test_a_copy_on_another_object_counts_as_none(marker: Marker) -> None:
    """The deployment controller copies annotations to ReplicaSets."""
    assert read_marker(on(written(marker), "other"), "run", SIGNER) == Marker("run", "other", {})


@given(markers, st.sampled_from(["object", "sig", "steps"]), st.text(max_size=70))
def test_a_marker_with_anything_changed_is_refused(marker: Marker, part: str, other: str) -> None:
    outer = json.loads(written(marker))
    changed = {**outer, part: other}
    if changed == outer:
        return
    with pytest.raises(StepError, match="did not sign") as caught:
        read_marker(on(json.dumps(changed)), "run", SIGNER)
    assert caught.value.reason is Reason.PRECONDITION_FAILED


@given(markers)
def test_a_marker_signed_with_another_key_or_for_another_run_is_refused(marker: Marker) -> None:
    elsewhere = Marker("other-run", "uid", marker.steps).annotation(SIGNER)[marker_annotation("other-run")]
    for value in (written(marker, Signer(b"theirs")), elsewhere):
        with pytest.raises(StepError, match="did not sign"):
            read_marker(on(value), "run", SIGNER)


@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="did not sign"):
        read_marker(on(text), "run", SIGNER)


@given(markers, marks)
def test_a_step_is_added_or_replaced_and_others_are_kept(marker: Marker, mark: StepMark) -> None:
    assert marker.with_step("new", mark).steps == {**marker.steps, "new": mark}


def test_without_the_annotation_there_is_an_empty_marker() -> None:
    assert read_marker({"metadata": {"uid": "uid"}}, "run", SIGNER) == Marker("run", "uid", {})


@pytest.mark.parametrize("part", ["before", "after"])
def test_images_are_bounded(part: str) -> None:
    image = {"data.a": "x" * MAX_BEFORE_IMAGE}
    mark = StepMark(1, image, {}) if part == "before" else StepMark(1, {}, image)
    with pytest.raises(StepError, match=f"only {MAX_BEFORE_IMAGE} can be remembered") as caught:
        Marker("run", "uid", {"one": mark}).annotation(SIGNER)
    assert caught.value.reason is Reason.OUTPUT_TOO_LARGE


def test_many_steps_on_one_object_fit_until_their_record_grows_too_large() -> None:
    mark = StepMark(1, {"spec.replicas": 1}, {"spec.replicas": 2})
    assert Marker("run", "uid", {f"step-{n}": mark for n in range(200)}).annotation(SIGNER)
    large = StepMark(1, {"data.a": "x" * 1000}, {"data.a": "y" * 1000})
    with pytest.raises(StepError, match=f"at most {MAX_MARKER} are allowed"):
        Marker("run", "uid", {f"step-{n}": large for n in range(60)}).annotation(SIGNER)
