"""Compiling a Workflow: the order of steps, and every problem named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from builders import FakeCatalogue, WorkflowBuilder, a_workflow, steps
from kubernaut.api.reasons import REASONS, Reason
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import StepError
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import PlanInvalid, Problem


def a_metric(**parts: str) -> WorkflowBuilder:
    """Return a Workflow whose verdict rests upon a metric."""
    metric = {"name": "up", "query": "up", "expect": "value > 0.0"}
    return a_workflow().step("a").verify(metrics=[metric | parts])


def problems(workflow: WorkflowBuilder) -> list[Problem]:
    with pytest.raises(PlanInvalid) as raised:
        compile_plan(workflow.spec(), FakeCatalogue())
    assert all(str(problem) in str(raised.value) for problem in raised.value.problems)
    return list(raised.value.problems)


def problem(workflow: WorkflowBuilder) -> Problem:
    (only,) = problems(workflow)
    return only


def test_steps_are_in_an_order_in_which_they_can_run() -> None:
    plan = a_workflow().step("d", needs="b c").step("c", needs="a").step("b", needs="a").step("a").plan()
    assert [step.name for step in plan.steps] == ["a", "c", "b", "d"]
    assert [step.position for step in plan.steps] == [0, 1, 2, 3]


def test_a_cycle_is_named_with_its_path() -> None:
    found = problem(a_workflow().step("a", needs="c").step("b", needs="a").step("c", needs="b").step("x"))
    assert (found.reason, found.path) == (Reason.CYCLE, "spec.steps")
    path = found.message.removeprefix("the steps depend on each other: ").removesuffix(".").split(" -> ")
    needs = {"a": "c", "b": "a", "c": "b"}
    assert len(path) == 4
    assert [needs[name] for name in path[:-1]] == path[1:]


def test_a_step_that_depends_on_itself_is_a_cycle() -> None:
    assert "a -> a" in problem(a_workflow().step("a", needs="a")).message


def test_a_dependency_that_does_not_exist_is_named() -> None:
    found = problem(a_workflow().step("a").step("b", needs="a zz"))
    assert (found.reason, found.path) == (Reason.UNKNOWN_STEP, "spec.steps[1].dependsOn[1]")
    assert "'zz'" in found.message


def test_an_unknown_action_is_named_with_the_nearest_one() -> None:
    found = problem(a_workflow().step("a", "fake_marke"))
    assert (found.reason, found.path) == (Reason.UNKNOWN_ACTION, "spec.steps[0].action")
    assert found.message == "there is no action 'fake_marke'. Did you mean 'fake_marked'?"
    assert str(found).endswith(REASONS[Reason.UNKNOWN_ACTION].fix)


def test_an_unknown_action_like_no_other_is_just_named() -> None:
    assert problem(a_workflow().step("a", "zzzzzzzz")).message == "there is no action 'zzzzzzzz'."


def test_a_problem_whose_reason_needs_no_mending_has_no_fix() -> None:
    assert Problem(Reason.VALID, "spec", "x.").fix == ""


@pytest.mark.parametrize(
    ("workflow", "path", "message"),
    [
        (a_workflow().step("a", when="1 +"), "spec.steps[0].when", "column"),
        (a_workflow().step("a", when="params.x"), "spec.steps[0].when", "undeclared reference to 'params.x'"),
        (a_workflow().step("a", when="'yes'"), "spec.steps[0].when", "it gives STRING, but true or false"),
        (a_workflow().wait("a", until="1 + 1"), "spec.steps[0].wait.until", "it gives INT"),
        (a_workflow().step("a").verify("true", "'x' == 1"), "spec.verify.expect[1]", "no matching overload"),
        (a_workflow().step("a", when="steps.zz.phase == ''"), "spec.steps[0].when", "there is no step 'zz'"),
        (a_metric(query="='up' +"), "spec.verify.metrics[0].query", "column"),
        (a_metric(query="=1 + 1"), "spec.verify.metrics[0].query", "it gives INT, but PromQL is a string"),
        (a_metric(query="=value"), "spec.verify.metrics[0].query", "undeclared reference to 'value'"),
        (a_metric(query="=steps.zz.outputs.x"), "spec.verify.metrics[0].query", "there is no step 'zz'"),
        (
            a_metric(expect="value + 1.0"),
            "spec.verify.metrics[0].expect",
            "it gives DOUBLE, but true or false",
        ),
        (a_metric(expect="value * 2 < 5"), "spec.verify.metrics[0].expect", "write 5.0 for 5"),
        (a_metric(expect="value < 'x'"), "spec.verify.metrics[0].expect", "'(double, string)'."),
        (a_metric(expect="steps.zz.x < value"), "spec.verify.metrics[0].expect", "there is no step 'zz'"),
        (
            a_workflow()
            .parameter("back", "integer", required=True)
            .step("a", when="steps.roll-params.back > 1"),
            "spec.steps[0].when",
            "there is no step 'roll'; write steps['NAME'] where the name has a dash",
        ),
        (a_workflow().step("a", with_={"names": ["x", "=nope"]}), "spec.steps[0].with", "names.1: column 1"),
        (a_workflow().step("a").target_name("=params.x"), "spec.target.name", "undeclared"),
        (a_workflow().step("a").target_name("=target.x"), "spec.target.name", "params and run only"),
        (a_workflow().step("a").target_name("=steps.a.phase"), "spec.target.name", "params and run only"),
        (
            a_workflow().step("b", when="steps.a.phase == ''").step("a"),
            "spec.steps[0]",
            "without depending on it",
        ),
        (
            a_workflow().step("a", when="steps.a.phase == ''"),
            "spec.steps[0]",
            "step 'a' without depending on it",
        ),
    ],
)
def test_an_expression_that_is_wrong_is_named_with_its_place(
    workflow: WorkflowBuilder, path: str, message: str
) -> None:
    found = problem(workflow)
    assert (found.reason, found.path) == (Reason.INVALID_EXPRESSION, path)
    assert message in found.message
    assert "\n" not in found.message


def test_a_step_may_refer_to_all_it_depends_on_through_others() -> None:
    plan = a_workflow().step("a").step("b", needs="a").step("c", needs="b", when="steps.a.phase == ''").plan()
    by_name = {step.name: step for step in plan.steps}
    assert by_name["c"].outputs_used == {"a"}
    assert [by_name[name].outputs_matter for name in "abc"] == [True, False, False]


def test_what_hangs_on_the_target_is_known() -> None:
    workflow = a_workflow().step("a", with_={"labels": {"x": "=target.spec.replicas"}}).step("b")
    plan = workflow.wait("c", until="target.x").step("d", when="true").plan()
    assert [step.name for step in plan.steps if step.uses_target] == ["a", "c"]


@pytest.mark.parametrize(
    ("action", "with_", "path", "message"),
    [
        ("fake_marked", {"replicas": "many"}, ".replicas", "valid integer"),
        ("fake_marked", {"replica": 1}, ".replica", "Extra inputs"),
        ("fake_marked", {"image_name": "x"}, ".image_name", "Extra inputs"),
        ("fake_marked", {"labels": {"a": "b", "c": 1}}, ".labels.a", "valid integer"),
        ("fake_marked", {"imageName": "=run.name", "replicas": "x"}, ".replicas", "valid integer"),
        ("fake_named", {}, ".name", "Field required"),
        ("fake_named", None, ".name", "Field required"),
    ],
)
def test_parameters_that_can_not_fit_are_named(action: str, with_: Any, path: str, message: str) -> None:
    found = problem(a_workflow().step("a", action, with_=with_))
    assert (found.reason, found.path) == (Reason.INVALID_PARAMETERS, f"spec.steps[0].with{path}")
    assert found.message.startswith(f"{action}: ")
    assert message in found.message


@pytest.mark.parametrize(
    "with_",
    [
        {"replicas": "=1 + 1"},
        {"labels": {"a": "=1", "b": 2}},
        {"imageName": "==literal"},
        {"names": ["a", "=run.name", "==b"]},
    ],
)
def test_what_an_expression_will_give_is_judged_when_it_is_known(with_: dict[str, Any]) -> None:
    assert a_workflow().step("a", with_=with_).plan()


@pytest.mark.parametrize(
    ("kind", "default"), [("integer", "1.5"), ("number", "x"), ("boolean", "yes"), ("integer", "")]
)
def test_a_default_of_the_wrong_type_is_named(kind: str, default: str) -> None:
    found = problem(a_workflow().parameter("p", kind, default=default).step("a"))
    assert (found.reason, found.path) == (Reason.INVALID_PARAMETERS, "spec.parameters[0].default")
    assert found.message == f"parameter p: {default!r} is not of type {kind}."


def test_all_problems_are_named_at_once() -> None:
    workflow = a_workflow().parameter("p", "integer", default="x").step("a", "nope", "b", when="1")
    workflow.step("b", needs="a zz", with_={"replicas": "x"})
    assert {found.reason for found in problems(workflow)} == {
        Reason.CYCLE,
        Reason.UNKNOWN_STEP,
        Reason.UNKNOWN_ACTION,
        Reason.INVALID_EXPRESSION,
        Reason.INVALID_PARAMETERS,
    }


# Parameters of a run.


def declared() -> WorkflowBuilder:
    workflow = a_workflow().parameter("name", required=True).parameter("count", "integer", default="3")
    return workflow.parameter("share", "number").parameter("dry", "boolean").step("a")


def test_parameters_are_typed_defaults_filled_in_and_optional_ones_null() -> None:
    assert parse_parameters(declared().spec(), {"name": "web", "dry": "true"}) == {
        "name": "web",
        "count": 3,
        "share": None,
        "dry": True,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "parameter 'name' (string) is required and was not given"),
        ({"name": "x", "nam": "y"}, "declares no parameter 'nam'; it declares: count, dry, name, share"),
        ({"name": "x", "count": "many"}, "parameter count: 'many' is not of type integer"),
        ({"name": "x", "share": "half"}, "parameter share: 'half' is not of type number"),
        ({"name": "x", "dry": "True"}, "parameter dry: 'True' is not of type boolean"),
    ],
)
def test_parameters_that_do_not_fit_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(StepError, match=r"parameter") as raised:
        parse_parameters(declared().spec(), given)
    assert raised.value.reason is Reason.INVALID_PARAMETERS
    assert message in str(raised.value)


def test_a_workflow_without_parameters_says_so() -> None:
    with pytest.raises(StepError, match="it declares: none"):
        parse_parameters(a_workflow().step("a").spec(), {"x": "y"})


# Templates.


def using(body: WorkflowBuilder, **more: Any) -> WorkflowBuilder:
    return a_workflow().each("each", items_from="[1]", **more).template("one", body)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix * 58}{at:05}" for at in range(count)]


@pytest.mark.parametrize(
    ("workflow", "reason", "path", "message"),
    [
        (
            a_workflow().switch("s", {"nope": "true"}),
            Reason.UNKNOWN_TEMPLATE,
            "spec.steps[0].switch.cases[0].template",
            "there is no template 'nope'; the Workflow has: none",
        ),
        (
            using(steps().step("x")).each("two", "nope", items_from="[1]"),
            Reason.UNKNOWN_TEMPLATE,
            "spec.steps[1].forEach.template",
            "has: one",
        ),
        (
            a_workflow().step("a", onFailure="Alternate", alternate="nope"),
            Reason.UNKNOWN_TEMPLATE,
            "spec.steps[0].alternate",
            "'nope'",
        ),
        (
            a_workflow().step("a").set(onFailure="Alternate", alternate="nope"),
            Reason.UNKNOWN_TEMPLATE,
            "spec.alternate",
            "'nope'",
        ),
        (
            using(steps().each("x", "two", items_from="[1]")).template(
                "two", steps().switch("y", {"one": "true"})
            ),
            Reason.CYCLE,
            "spec.templates[1].steps[0].switch.cases[0].template",
            "one -> two -> one",
        ),
        (
            using(steps().step("x", onFailure="Rollback")),
            Reason.INVALID_SPEC,
            "spec.templates[0].steps[0].onFailure",
            "concerns the whole run",
        ),
        (
            using(steps().step("x", needs="each")),
            Reason.UNKNOWN_STEP,
            "spec.templates[0].steps[0].dependsOn[0]",
            "no step 'each'",
        ),
        (
            using(steps().step("x", when="steps.later.phase == ''")).step("later"),
            Reason.INVALID_EXPRESSION,
            "spec.steps[0]",
            "",
        ),
        (
            a_workflow().switch("s", {"default": "true"}).template("default", steps().step("x")),
            Reason.INVALID_SPEC,
            "spec.steps[0].switch.cases[0].name",
            "'default' is taken",
        ),
        (
            a_workflow().each("e", items_from="1 + 1").template("one", steps().step("x")),
            Reason.INVALID_EXPRESSION,
            "spec.steps[0].forEach.itemsFrom",
            "a list is needed",
        ),
        (
            a_workflow().step("a", when="item == 1"),
            Reason.INVALID_EXPRESSION,
            "spec.steps[0].when",
            "undeclared reference to 'item'",
        ),
        (
            a_workflow().step("a").last(steps().approval("ask")),
            Reason.INVALID_SPEC,
            "spec.finally[0]",
            "can't wait for a person",
        ),
        (
            a_workflow().step("a").last(steps().step("z", onFailure="Manual")),
            Reason.INVALID_SPEC,
            "spec.finally[0]",
            "can't wait for a person",
        ),
        (
            a_workflow().step("a").last(steps().step("z", onFailure="Rollback")),
            Reason.INVALID_SPEC,
            "spec.finally[0].onFailure",
            "a rollback is over",
        ),
        (
            a_workflow().step("a").last(steps().step("a")),
            Reason.INVALID_SPEC,
            "spec",
            "two steps 'a'",
        ),
        (
            a_workflow()
            .step("look")
            .step("a", needs="look", retry={"limit": 1, "when": "steps.look.phase == ''"}),
            Reason.INVALID_EXPRESSION,
            "spec.steps[1].retry.when",
            "failure, params and run only",
        ),
        (
            a_workflow().step("look").set(outputs=[{"name": "n", "value": "=target.spec.replicas"}]),
            Reason.INVALID_EXPRESSION,
            "spec.outputs[0].value",
            "params, run and steps only",
        ),
    ],
)
def test_what_is_wrong_with_groups_templates_and_finally_is_named_with_its_place(
    workflow: WorkflowBuilder, reason: Reason, path: str, message: str
) -> None:
    found = problem(workflow)
    if message:
        assert (found.reason, found.path) == (reason, path)
        assert message in found.message
    else:
        assert found.reason is reason


def test_more_steps_than_a_run_can_record_are_refused_with_those_of_templates() -> None:
    body = steps()
    for at in range(50):
        body.step(f"x{at}")
    workflow = a_workflow().template("one", body)
    for at in range(20):
        workflow.each(f"e{at}", items_from="[1]")
    found = problem(workflow)
    assert (found.reason, found.path) == (Reason.INVALID_SPEC, "spec")
    assert "has 1020 steps; at most 1000" in found.message


def test_more_approvals_than_a_run_can_hold_answers_to_are_refused() -> None:
    workflow = a_workflow()
    for at in range(256):
        workflow.approval(f"ask{at}")
    workflow.plan()
    found = problem(workflow.approval("one-more"))
    assert (found.reason, found.path) == (Reason.INVALID_SPEC, "spec")
    assert "asks for 257 approvals; at most 256" in found.message


def test_paths_that_no_record_could_have_are_refused() -> None:
    workflow = (
        a_workflow().each("a" * 63, "t" * 63, items_from="[1]").template("leaf", steps().step("d" * 63))
    )
    mid = steps().each("b" * 63, "u" * 63, items_from="[1]")
    workflow.template("t" * 63, mid).template("u" * 63, steps().each("c" * 63, "leaf", items_from="[1]"))
    found = problem(workflow)
    assert "has 264 characters; at most 253 are allowed" in found.message


def test_names_too_long_for_the_records_of_very_many_steps_are_refused() -> None:
    body = steps()
    for name in names("s", 49):
        body.step(name)
    workflow = a_workflow().template("one", body)
    for name in names("e", 20):
        workflow.each(name, items_from="[1]")
    assert "give the steps shorter names" in problem(workflow).message


def test_steps_of_templates_stand_behind_the_step_that_uses_them() -> None:
    plan = using(steps().step("y", needs="x").step("x")).step("after", needs="each").plan()
    assert [step.name for step in plan.steps] == ["each", "each/#/x", "each/#/y", "after"]


def test_what_a_metric_refers_to_matters() -> None:
    plan = a_metric(query="=steps.a.outputs.query").plan()
    assert [step.outputs_matter for step in plan.steps] == [True]
    assert [step.outputs_matter for step in a_metric(expect="value > steps.a.outputs.x").plan().steps] == [
        True
    ]
    assert [one.name for one in a_metric().plan().metrics] == ["up"]
