"""Past runs under another content: what differs just there, and what is not recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import NOW, FakeCatalogue, WorkflowBuilder, a_story, a_target, a_workflow, steps
from kubernaut.api.execution import Decision
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash
from kubernaut.history.facts import content_of
from kubernaut.history.records import RunRecord
from kubernaut.replaying.recorded import Result
from kubernaut.replaying.replay import Replay
from replayed import recorded, replayed


def said(result: Result) -> tuple[str, list[str]]:
    return result.verdict, [one.what for one in result.differences]


def a_check(threshold: int = 3, **more: Any) -> WorkflowBuilder:
    """A Workflow that restarts what was found to restart often."""
    when = f"steps.check.outputs.restarts > {threshold}"
    return a_workflow().step("check", "fake_read").step("restart", needs="check", when=when, **more)


def lived(
    workflow: WorkflowBuilder, restarts: int = 5, took: str = "2s", **given: str
) -> tuple[RunRecord, WorkflowSpec]:
    """Return a run that checked, and restarted where that was due; and what it followed."""
    story = a_story(workflow, **given)
    story.decide()
    story.done("check", acted=False, restarts=restarts)
    if "restart" in story.flying:
        story.after(took)
        story.done("restart")
    assert story.run.status.phase.final
    return recorded(story.run, workflow.spec(), NOW, **given), workflow.spec()


@pytest.mark.parametrize(("restarts", "differs"), [(2, False), (4, True), (9, False)])
def test_another_threshold_differs_for_those_between_the_two(restarts: int, differs: bool) -> None:
    record, old = lived(a_check(3), restarts)
    expected = (
        "Otherwise",
        ["step restart does not run (WhenFalse)", "it ends Succeeded NoActionRequired"][:1],
    )
    result = replayed(record, old, a_check(6).spec())
    assert said(result) == (expected if differs else ("Same", []))


def test_a_lower_threshold_has_a_step_run_of_which_nobody_knows_how_it_ends() -> None:
    record, old = lived(a_check(3), 2)
    result = replayed(record, old, a_check(1).spec())
    assert said(result)[0] == "Otherwise"
    assert "step restart runs (fake_marked)" in said(result)[1]
    assert result.would is None
    assert result.unknown == "how step restart ends, which did not run"


def test_other_parameters_and_another_action_are_named() -> None:
    record, old = lived(a_check(with_={"replicas": 2}))
    other = replayed(record, old, a_check(with_={"replicas": 3}).spec())
    assert other.differences[0].told == "step restart: replicas: 2 -> 3"
    step = a_check().spec().wire()
    step["steps"][1]["action"] = "fake_halting"
    assert said(replayed(record, old, WorkflowSpec.from_wire(step)))[1] == [
        "step restart runs fake_halting and not fake_marked"
    ]


@pytest.mark.parametrize(("timeout", "verdict"), [("1s", "Otherwise"), ("3s", "Same"), ("10m", "Same")])
def test_a_timeout_shorter_than_a_step_took_cuts_it_short(timeout: str, verdict: str) -> None:
    record, old = lived(a_check(), took="2s")
    result = replayed(record, old, a_check(timeout=timeout).spec())
    assert result.verdict == verdict
    assert [one.kind for one in result.differences] == (["TimedOut"] if verdict == "Otherwise" else [])
    assert all(one.what == "step restart runs into its timeout of 1s" for one in result.differences)


def failing(retries: int = 0, **more: Any) -> WorkflowBuilder:
    return a_workflow().step("only", retries=retries, **more)


def failed(workflow: WorkflowBuilder, times: int) -> tuple[RunRecord, WorkflowSpec]:
    story = a_story(workflow)
    story.decide()
    for at in range(times):
        if at:
            story.after("30s")
        story.failed("only", Reason.CONFLICT)
    if not story.run.status.phase.final:
        story.after("30s")
        story.done("only")
    return recorded(story.run, workflow.spec(), NOW), workflow.spec()


def test_more_retries_try_again_what_failed_and_fewer_give_up_what_did_not() -> None:
    record, old = failed(failing(1), 2)
    assert said(replayed(record, old, failing(1).spec())) == ("Same", [])
    more = replayed(record, old, failing(3).spec())
    assert said(more) == ("Otherwise", ["step only is tried again after attempt 2"])
    record, old = failed(failing(3), 2)
    fewer = replayed(record, old, failing(0).spec())
    assert fewer.would is not None
    # Of the first attempt only this is kept, that another one followed.
    assert str(fewer.would) == "Failed NotFixed (reason not recorded)"
    assert "step only is Failed (reason not recorded) and not Succeeded" in said(fewer)[1]


def test_a_retry_condition_that_looks_at_failures_that_are_not_recorded_is_unknown() -> None:
    record, old = failed(failing(3), 2)
    spec = failing(3).spec().wire()
    spec["steps"][0]["retry"]["when"] = "failure.reason == 'Conflict'"
    result = replayed(record, old, WorkflowSpec.from_wire(spec))
    assert result.verdict == "Unknown"
    assert "retry.when" in result.unknown


def asking(**more: Any) -> WorkflowBuilder:
    return (
        a_workflow()
        .parameter("size", "integer", default="1")
        .approval("ask", **more)
        .step("only", needs="ask", with_={"replicas": "=params.size"})
    )


def test_answers_count_when_they_came_and_what_they_gave() -> None:
    workflow = asking(expires="1h", may=["size"])
    story = a_story(workflow)
    story.decide()
    story.answer("ask", Decision.APPROVE, size="4")
    story.after("20m")
    story.done("only")
    record, old = recorded(story.run, workflow.spec(), NOW), workflow.spec()
    assert said(replayed(record, old, old)) == ("Same", [])
    sooner = replayed(record, old, asking(expires="10m", may=["size"]).spec())
    assert sooner.would is not None
    assert sooner.would.reason == "ApprovalExpired"
    unasked = (
        a_workflow()
        .parameter("size", "integer", default="1")
        .step("only", with_={"replicas": "=params.size"})
    )
    assert "ParametersChanged" in [one.kind for one in replayed(record, old, unasked.spec()).differences]


def test_a_person_who_was_not_asked_is_no_fact() -> None:
    record, old = lived(a_check())
    new = a_check().spec().wire()
    new["steps"].insert(1, {"name": "ask", "dependsOn": ["check"], "approval": {}})
    new["steps"][2]["dependsOn"] = ["check", "ask"]
    result = replayed(record, old, WorkflowSpec.from_wire(new))
    assert said(result) == ("Otherwise", ["step ask asks a person"])
    assert result.unknown == "what a person would have answered who was not asked"


def verified(workflow: WorkflowBuilder) -> RunRecord:
    story = a_story(workflow)
    story.decide()
    story.after("1s")
    story.done("only")
    story.sees(a_target(ready=0))
    story.after("20s")
    story.sees(a_target(ready=2))
    if not story.run.status.phase.final:
        story.after("5s")
    assert story.run.status.verdict == "Remediated"
    return recorded(story.run, workflow.spec(), NOW)


def expecting(*expect: str, **more: Any) -> WorkflowBuilder:
    return a_workflow().step("only").verify(*(expect or ("target.status.readyReplicas > 1",)), **more)


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        (expecting(stabilization="5s"), "Same"),
        (expecting(stabilization="2s"), "Same"),
        (expecting(stabilization="1m"), "Unknown"),
        (expecting("target.status.readyReplicas > 2"), "Unknown"),
        (a_workflow().step("only"), "Otherwise"),
    ],
)
def test_expectations_are_known_where_they_were_looked_at(new: WorkflowBuilder, verdict: str) -> None:
    old = expecting(stabilization="5s")
    assert replayed(verified(old), old.spec(), new.spec()).verdict == verdict


def test_a_shorter_time_to_verify_fails_what_became_well_too_late() -> None:
    old = expecting(stabilization="0s", timeout="5m")
    result = replayed(verified(old), old.spec(), expecting(stabilization="0s", timeout="10s").spec())
    assert result.would is not None
    assert (result.would.verdict, result.would.reason) == ("NotFixed", "ExpectationNotMet")


def switching(level: int) -> WorkflowBuilder:
    body = (
        a_workflow()
        .step("look", "fake_read")
        .switch("which", {"high": f"steps.look.outputs.n > {level}"}, "look", default="low")
    )
    return body.template("high", steps().step("act", with_={"replicas": 9})).template(
        "low", steps().step("wait-a-bit", "fake_read")
    )


def test_another_branch_is_named() -> None:
    workflow = switching(3)
    story = a_story(workflow)
    story.decide()
    story.done("look", acted=False, n=5)
    story.done("which/high/act" if "which/high/act" in story.flying else "which/act")
    record = recorded(story.run, workflow.spec(), NOW)
    assert said(replayed(record, workflow.spec(), switching(3).spec())) == ("Same", [])
    assert (
        "step which takes default and not high"
        in said(replayed(record, workflow.spec(), switching(7).spec()))[1]
    )


def test_parameters_that_do_not_fit_any_more_are_refused_with_their_name() -> None:
    workflow = a_check().parameter("size", default="two")
    record, old = lived(workflow, size="two")
    new = a_check().parameter("size", "integer", default="2")
    result = replayed(record, old, new.spec())
    assert said(result) == ("Otherwise", ["its parameters are refused"])
    assert "size" in result.differences[0].told


def test_what_an_earlier_version_stored_is_unknown() -> None:
    record, old = lived(a_check())
    assert replayed(replace(record, facts=None), old, a_check(9).spec()).verdict == "Unknown"
    replay = Replay("repair", "shop", a_check(9).spec(), FakeCatalogue())
    assert "the content of its Workflow" in replay.one(record, None).unknown


def test_a_record_with_words_of_another_version_is_unknown_and_stops_nothing() -> None:
    record, old = failed(failing(0), 1)
    odd = replace(record, steps=(replace(record.steps[0], reason="NotYetInvented"),))
    assert replayed(odd, old, failing(2).spec()).unknown == "its record as this version reads it"


def test_a_verdict_of_another_version_stops_nothing_though_guards_of_later_runs_look_at_it() -> None:
    record, old = lived(a_check())
    odd = replace(record, verdict="NotYetInvented")
    replay = Replay("repair", "shop", a_check(9).spec(), FakeCatalogue())
    content = replay.content(content_hash(old), content_of(old))
    replay.skip(replace(odd, uid="earlier"))
    assert replay.one(odd, content).verdict == "Unknown"
    later = replace(record, uid="later")
    assert replay.one(later, content).verdict == "Otherwise"


def test_another_account_may_do_other_things() -> None:
    record, old = lived(a_check())
    result = replayed(record, old, a_check().set(serviceAccountName="other").spec())
    assert (result.verdict, result.unknown) == ("Unknown", "what account other may do")


# Guards


def guarded(spec: WorkflowSpec, *began: float, **guards: Any) -> list[Result]:
    """Replay runs that began at these minutes, each a minute long, under a content with guards."""
    record, _ = lived(a_check())
    new = WorkflowSpec.from_wire({**spec.wire(), "guards": guards})
    replay = Replay("repair", "shop", new, FakeCatalogue())
    old = replay.content(content_hash(spec), content_of(spec))
    found = []
    for at, minute in enumerate(began):
        moved = timedelta(minutes=minute)
        one = shifted(replace(record, uid=f"run-{at}", name=f"run-{at}"), moved)
        found.append(replay.one(one, old))
    return found


def shifted(record: RunRecord, by: timedelta) -> RunRecord:
    def later(step: Any) -> Any:
        times = {name: getattr(step, name) for name in ("started_at", "finished_at")}
        return replace(step, **{name: at + by if at else None for name, at in times.items()})

    moved: RunRecord = later(record)
    return replace(moved, created_at=record.created_at + by, steps=tuple(map(later, record.steps)))


def test_a_run_that_is_refused_holds_up_none_of_those_after_it() -> None:
    found = guarded(a_check().spec(), 0, 4, 8, 12, cooldown="10m", waitAtMost="1m")
    assert [one.verdict for one in found] == ["Same", "Otherwise", "Otherwise", "Same"]
    assert said(found[1])[1] == ["guards refuse it (Cooldown)"]


def test_a_run_that_would_wait_makes_what_follows_unknown_where_it_hangs_on_that() -> None:
    found = guarded(a_check().spec(), 0, 4, 15, 600, cooldown="10m", waitAtMost="1h")
    assert said(found[1])[1][0] == "guards have it begin later (Cooldown)"
    assert [one.verdict for one in found] == ["Same", "Otherwise", "Unknown", "Same"]
    assert "run run-1" in found[2].unknown


def test_no_more_than_so_many_in_an_hour_begin() -> None:
    found = guarded(a_check().spec(), 0, 10, 20, 30, 90, maxPerHour=2, waitAtMost="1s")
    assert [one.verdict for one in found] == ["Same", "Same", "Otherwise", "Otherwise", "Same"]


def test_an_alert_that_is_asked_for_anew_is_not_recorded() -> None:
    (found,) = guarded(a_check().spec(), 0, stopWhileFiring=[{"alert": "Down"}])
    assert (found.verdict, found.unknown) == ("Unknown", "whether an alert of stopWhileFiring fired")


def a_refused(reason: str, message: str) -> RunRecord:
    record, _ = lived(a_check())
    return replace(
        record, phase="Failed", verdict="Declined", reason=reason, message=message, steps=(), target_uid=None,
        target_kind=None, target_name=None, content_hash=None, finished_at=record.started_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_refused("Cooldown", "Cooldown 1h of namespace shop: ..."), "Same"),
        (a_refused("Cooldown", "Cooldown 1h of Workflow repair: ..."), "Otherwise"),
        (a_refused("Cancelled", "The run was cancelled before it began."), "Same"),
        (a_refused("TargetNotFound", "The target Deployment shop/web does not exist."), "Same"),
        (a_refused("TargetNotFound", "The target Deployment shop/api does not exist."), "Unknown"),
        (a_refused("WorkflowNotReady", "Workflow repair is not ready"), "Otherwise"),
        (a_refused("ConcurrentRun", "held by run-0"), "Otherwise"),
    ],
)
def test_of_what_was_refused_is_said_whether_it_would_be_again(record: RunRecord, expected: str) -> None:
    assert replayed(record, a_check().spec(), a_check().spec()).verdict == expected


def test_a_story_is_not_changed_by_being_replayed() -> None:
    record, old = lived(a_check())
    before = repr(record)
    replayed(record, old, a_check(9).spec())
    assert repr(record) == before
