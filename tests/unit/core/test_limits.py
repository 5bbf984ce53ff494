"""The bounds of what a run's status holds, and what an action may give."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from builders import NOW, Story, a_story, a_workflow
from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.core import limits


def after(**outputs: Any) -> Story:
    story = a_story(a_workflow().step("a").step("b"))
    story.decide()
    story.done("a", **outputs)
    return story


def test_all_outputs_of_a_run_share_their_bound() -> None:
    story = after(text="x" * 60_000)
    assert story.phases["a"] == "Succeeded"
    story.done("b", text="x" * 60_000)
    assert story.step("b").reason == "OutputTooLarge"
    taken = len(json.dumps({"text": "x" * 60_000}))
    message = f"the step's outputs take {taken} bytes; the run has {96 * 1024 - taken} of 98304 left"
    assert story.step("b").message == message
    assert story.step("b").changed == ["replicas: 1 -> 2"]
    assert story.step("b").outputs is None


def test_outputs_up_to_the_last_byte_are_taken() -> None:
    room = limits.OUTPUTS - len(json.dumps({"text": ""}))
    assert after(text="x" * room).phases["a"] == "Succeeded"
    assert after(text="x" * (room + 1)).phases["a"] == "Failed"


def test_outputs_are_kept_as_they_will_be_read_back() -> None:
    story = after(names=("web", "db"), by={1: ("x",)})
    assert story.step("a").outputs == {"names": ["web", "db"], "by": {"1": ["x"]}}


def test_outputs_count_as_they_are_sent() -> None:
    assert limits.size({"a": "ü"}) == len('{"a": "ü"}'.encode())
    assert limits.size(None) == limits.size({}) == 0


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({f"k{n}": n for n in range(65)}, "gave 65 outputs; at most 64"),
        ({"Upper": 1}, "named 'Upper'"),
        ({"with-dash": 1}, "named 'with-dash'"),
        ({"a" * 64: 1}, "named 'aaa"),
        ({"": 1}, "named ''"),
        ({"x": math.nan}, "'x' that is not JSON"),
        ({"x": [{"y": math.inf}]}, "'x' that is not JSON"),
        ({"x": object()}, "'x' that is not JSON"),
        ({"x": "\ud800"}, "'x' that is not JSON"),
        ({"x": {(1, 2): 3}}, "'x' that is not JSON"),
        ({"x": _nested(100_000)}, "'x' that is not JSON"),
        ({"x": _nested(300)}, "'x' with more than 64 levels"),
        ({"x": {"y": _nested(64)}}, "'x' with more than 64 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_outputs_that_the_api_server_would_refuse_fail_the_step(outputs: dict[str, Any], told: str) -> None:
    story = after(**outputs)
    assert story.step("a").reason == "InternalError"
    assert told in (story.step("a").message or "")
    assert story.step("a").outputs is None


def test_an_output_whose_name_is_no_text_is_refused() -> None:
    assert "named 1" in (limits.outputs_problem({1: 2}) or "")  # type: ignore[dict-item]


def test_outputs_of_many_levels_are_written_and_read_back() -> None:
    assert limits.outputs_problem({"x": _nested(64)}) is None
    record = after(x=_nested(64)).step("a")
    assert StepStatus.model_validate(record.wire()) == record


def test_sixty_four_outputs_with_long_names_are_taken() -> None:
    assert limits.outputs_problem({f"k{n:062}": n for n in range(64)}) is None


@pytest.mark.parametrize("steps", [0, 1, 10, 40, 200])
@pytest.mark.parametrize("text", ["x" * 5000, "€" * 5000, "🙂" * 2000])
def test_messages_of_all_steps_fit_into_their_bound(text: str, steps: int) -> None:
    cut = limits.message(text, steps)
    assert cut.endswith("…")
    assert len(cut.encode()) <= 1024
    assert steps * len(cut.encode()) <= limits.MESSAGES
    assert text.startswith(cut[:-1])


def test_short_messages_stay_as_they_are() -> None:
    assert limits.message("all is well, ü", 200) == "all is well, ü"


def test_what_no_utf8_can_carry_is_replaced() -> None:
    assert limits.message("a\ud800b") == "a?b"


def test_a_sentence_has_one_full_stop() -> None:
    assert [limits.sentence(text) for text in ("a", "a.", "a. .")] == ["a."] * 3


def test_sentences_are_bounded_in_number_and_length() -> None:
    cut = limits.sentences([f"{n} " + "x" * 600 for n in range(20)])
    assert len(cut) == 16
    assert cut[-1] == "and 5 more"
    assert all(len(text.encode()) <= 512 for text in cut)


def test_sixteen_sentences_are_all_told() -> None:
    assert limits.sentences([str(n) for n in range(16)]) == [str(n) for n in range(16)]


@pytest.mark.parametrize("steps", [1, 30, 200])
def test_sentences_of_all_steps_fit_into_their_bound(steps: int) -> None:
    cut = limits.sentences(["€" * 400] * 16, steps)
    assert cut
    assert steps * sum(len(text.encode()) for text in cut) <= limits.SENTENCES + steps * len("and 16 more")


def test_a_step_that_says_nothing_of_what_it_changed_is_known_to_have_acted() -> None:
    story = a_story(a_workflow().step("a").step("b"))
    story.decide()
    story.done("a", changed=["x" * 2000])
    assert [len(text.encode()) for text in story.step("a").changed or []] == [512]


def test_messages_of_outcomes_are_cut() -> None:
    story = a_story(a_workflow().step("a"))
    story.decide()
    story.failed("a", message="x" * 5000)
    assert len((story.step("a").message or "").encode()) <= 1024
    assert len((story.run.status.message or "").encode()) <= 1024
    assert all(len(c.message) <= 2048 for c in story.run.status.conditions)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("length", [10, 63])
def test_the_records_of_a_thousand_steps_fit_whatever_they_are_called_and_tell(
    length: int, fails: bool
) -> None:
    """Records as they may be at worst; 2 KiB are left for what is not of a single step."""
    records = [
        StepStatus(
            name=f"{at:05}".rjust(length, "s"),
            phase=StepPhase.FAILED if fails else StepPhase.SUCCEEDED,
            attempt=21,
            started_at=NOW,
            finished_at=NOW,
            reason="NothingToRollBackTo" if fails else None,
            message=limits.message("€" * 2000, 1000),
            changed=limits.sentences(["€" * 500] * 16, 1000),
        )
        for at in range(1000)
    ]
    fitted = limits.fit(records)
    assert [record.name for record in fitted] == [record.name for record in records]
    assert all(record.changed for record in fitted)
    told = json.dumps([record.wire() for record in fitted], ensure_ascii=False, separators=(",", ":"))
    assert len(told.encode()) <= 254 * 1024


def test_messages_keep_to_their_bound_however_many_steps_there_are_and_came_later() -> None:
    """The first were cut when there were few steps; below 64 bytes no single one is cut by itself."""
    early = [StepStatus(name=f"e{at}", message=limits.message("€" * 2000, 30)) for at in range(30)]
    late = [
        StepStatus(name=f"l{at}", message=limits.message(f"{at} failed " * 20, 1000)) for at in range(970)
    ]
    told = [record.message or "" for record in limits.fit([*early, *late])]
    assert sum(len(text.encode()) for text in told) <= limits.MESSAGES
    assert all(text.startswith(("€€", f"{at - 30} fa")) for at, text in enumerate(told))


def test_short_messages_stay_whole_where_long_ones_are_cut() -> None:
    long = [StepStatus(name=f"l{at}", message="x" * 1024) for at in range(40)]
    short = [StepStatus(name=f"s{at}", message="short") for at in range(40)]
    fitted = limits.fit([*long, *short])
    assert all(record.message == "short" for record in fitted[40:])
    assert sum(len(record.message or "") for record in fitted) > limits.MESSAGES - 200
    assert limits.fit(fitted) == fitted
