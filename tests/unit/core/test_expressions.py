"""Expressions: what they see, what they refer to, and how their errors read."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Parameter, ParameterType
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import Compiled, ExpressionInvalid, Language, Scope, template

RUN = {"uid": "u", "namespace": "shop", "name": "r"}
PARAMETERS = [
    Parameter(name="name", required=True),
    Parameter(name="count", type=ParameterType.INTEGER, default="1"),
    Parameter(name="share", type=ParameterType.NUMBER, required=True),
    Parameter(name="dry", type=ParameterType.BOOLEAN, required=True),
    Parameter(name="maybe"),
]
LANGUAGE = Language(PARAMETERS)
STEPS: dict[str, dict[str, Any]] = {
    "a": {"phase": "Succeeded", "outputs": {"n": 4, "list": [1, {"x": "y"}]}},
    "roll-back": {"phase": "Skipped", "outputs": {}},
}


def scope(**more: Any) -> Scope:
    params = {"name": "web", "count": 3, "share": 0.5, "dry": True, "maybe": None, **more}
    return Scope(params, STEPS, RUN, {"spec": {"replicas": 2}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("params.name + '-x'", "web-x"),
        ("params.count * 2", 6),
        ("params.share * 2.0", 1.0),
        ("!params.dry", False),
        ("params.maybe == null", True),
        ("target.spec.replicas", 2),
        ("steps.a.outputs.list[1].x", "y"),
        ("steps['roll-back'].phase", "Skipped"),
        ("run.namespace + '/' + run.name + '/' + run.uid", "shop/r/u"),
        ("{'a': [1, 2.5, null]}", {"a": [1, 2.5, None]}),
        ("'ü€'.size()", 2),
    ],
)
def test_an_expression_sees_parameters_target_steps_and_run(text: str, value: Any) -> None:
    assert LANGUAGE.value(text).evaluate(scope()) == value


@pytest.mark.parametrize(
    "text", ["params.count + 'x'", "params.name > 1", "params.dry + 1", "params.share + 1"]
)
def test_parameters_have_the_types_that_were_declared(text: str) -> None:
    with pytest.raises(ExpressionInvalid, match="no matching overload"):
        LANGUAGE.value(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("params.share < 5", True),
        ("1 >= params.share && params.count == 3", True),
        ("params.count < 2.5", False),
        ("params.share < params.count", True),
        ("params.count > 1 ? params.share != 0 : params.name == 'x'", True),
    ],
)
def test_numbers_are_compared_whatever_they_are(text: str, value: bool) -> None:
    assert LANGUAGE.condition(text).holds(scope()) is value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("params.share * 2 < 1.0", "'_*_' applied to '(double, int)'; write 5.0 for 5"),
        ("params.count + 0.5 < params.share", "'_+_' applied to '(int, double)'; write 5.0 for 5"),
        ("params.share < 5 && params.share * 2 > 1.0", "; write 5.0 for 5, and double() around an integer"),
        ("params.share < 5 && params.name < 5", "'_<_' applied to '(double, int)'"),
        ("params.name < 5", "'_<_' applied to '(string, int)'"),
    ],
)
def test_what_else_is_wrong_with_numbers_is_told_before_any_run(text: str, told: str) -> None:
    with pytest.raises(ExpressionInvalid) as found:
        LANGUAGE.condition(text)
    assert told in str(found.value)


@pytest.mark.parametrize(
    ("text", "steps", "target"),
    [
        ("steps.a.outputs.n > 3", {"a"}, False),
        ("steps . a . phase == ''", {"a"}, False),
        ("steps['roll-back'].phase == \"x\"", {"roll-back"}, False),
        ("steps[\"a\"].phase == steps [ 'roll-back' ].phase", {"a", "roll-back"}, False),
        ("params.name == 'steps.zz'", set(), False),
        ("params.name == \"steps['zz']\"", set(), False),
        ("params.name == 'it\\'s steps.zz and target'", set(), False),
        ("params.name == r'\\d' || steps.a.phase == ''", {"a"}, False),
        ("params.name == '''it's steps.zz''' || steps.a.phase == ''", {"a"}, False),
        ('params.name == r"""say "steps.zz" \\d""" || steps.a.phase == ""', {"a"}, False),
        ("1 > 2 // steps.zz and target", set(), False),
        ("params.name == 'http://x' && target.x", set(), True),
        ("target.spec.steps.x == 1", set(), True),
        ("target['steps'].x == 1", set(), True),
        ("run.name == 'target'", set(), False),
        ("steps.a.outputs.target == 1", {"a"}, False),
        ("steps.a.outputs.steps == 1", {"a"}, False),
        (".target.x == 1", set(), True),
        (".steps.a.phase == ''", {"a"}, False),
        ("true || .steps['roll-back'].phase == ''", {"roll-back"}, False),
        ("has(target.x) && target.x.exists(c, c.ready)", set(), True),
        ("[1].exists(targets, targets > 0)", set(), False),
    ],
)
def test_what_an_expression_refers_to_is_known(text: str, steps: set[str], target: bool) -> None:
    compiled = LANGUAGE.condition(text)
    assert (set(compiled.steps), compiled.uses_target) == (steps, target)


@pytest.mark.parametrize("text", ["steps", "steps[params.name]", "steps[r'a'].phase == ''"])
def test_steps_can_only_be_used_by_name(text: str) -> None:
    with pytest.raises(ExpressionInvalid, match=r"steps\.NAME or steps\['NAME'\]"):
        LANGUAGE.value(text)


def test_a_condition_must_be_true_or_false_as_far_as_that_is_known() -> None:
    assert LANGUAGE.condition("target.x").type_name == "DYN"
    with pytest.raises(ExpressionInvalid, match="it gives INT, but true or false is needed here"):
        LANGUAGE.condition("params.count")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 +\n +", "line 2, column 2: Syntax error"),
        ("params.count + 'x'", "column 14: found no matching overload"),
        ("zz", "column 1: undeclared reference to 'zz'"),
        ("", "column 1: Syntax error"),
    ],
)
def test_errors_of_compiling_are_one_line_and_say_where(text: str, told: str) -> None:
    with pytest.raises(ExpressionInvalid) as raised:
        LANGUAGE.value(text)
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)
    assert "INVALID_ARGUMENT" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("target.nope", "expression 'target.nope' failed: Key not found in map : \"nope\""),
        ("params.count / 0", "expression 'params.count / 0' failed: divide by zero"),
        ("target.spec.replicas + 'x'", "No matching overloads found"),
        ("params.maybe + 1", "No matching overloads found"),
    ],
)
def test_errors_of_evaluating_are_one_line_and_name_the_expression(text: str, told: str) -> None:
    with pytest.raises(StepError) as raised:
        LANGUAGE.value(text).evaluate(scope())
    assert raised.value.reason is Reason.EXPRESSION_FAILED
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("broken", ["\ud800", 2**70, object()])
def test_values_that_no_json_can_hold_fail_the_expression(broken: object) -> None:
    with pytest.raises(StepError) as raised:
        LANGUAGE.value("target.x").evaluate(Scope({}, {}, RUN, {"x": broken}))
    assert raised.value.reason is Reason.EXPRESSION_FAILED


def test_a_target_that_was_not_looked_at_fails_the_expression() -> None:
    with pytest.raises(StepError, match="target"):
        LANGUAGE.value("target.x").evaluate(Scope({}, {}, RUN))


@pytest.mark.parametrize(
    "text",
    ["timestamp('2026-01-01T00:00:00Z')", "duration('1s')", "b'x'", "type(1)", "[duration('1s')]", "{1: 2}"],
)
def test_a_value_that_is_not_json_fails_the_expression(text: str) -> None:
    with pytest.raises(StepError, match="not JSON"):
        LANGUAGE.value(text).evaluate(scope())


# Templates: literals with expressions in them.


def test_a_leading_equals_sign_makes_a_value_an_expression_wherever_it_is() -> None:
    tree = {
        "plain": "params.name",
        "name": "=params.name",
        "escaped": "==params.name",
        "deep": [{"n": "=params.count", "x": ["=steps['roll-back'].phase", 1, None, True, 2.5]}],
    }
    found = template(LANGUAGE, tree)
    assert found.render(scope()) == {
        "plain": "params.name",
        "name": "web",
        "escaped": "=params.name",
        "deep": [{"n": 3, "x": ["Skipped", 1, None, True, 2.5]}],
    }
    assert found.paths == (("name",), ("deep", 0, "n"), ("deep", 0, "x", 0))
    assert found.expressions[0].text == "params.name"


def test_a_literal_stays_as_it_is() -> None:
    assert template(LANGUAGE, "web").render(scope()) == "web"


def test_an_expression_in_a_template_that_is_wrong_is_named_with_its_path() -> None:
    with pytest.raises(ExpressionInvalid, match=r"^a\.1\.b: column 1: undeclared reference to 'zz'"):
        template(LANGUAGE, {"a": [1, {"b": "=zz"}]})
    with pytest.raises(ExpressionInvalid, match=r"^column 1: "):
        template(LANGUAGE, "=zz")


def test_an_expression_in_a_template_that_fails_fails_the_whole() -> None:
    with pytest.raises(StepError, match=r"target\.nope"):
        template(LANGUAGE, {"a": ["=target.nope"]}).render(scope())


def test_a_compiled_expression_can_be_used_many_times() -> None:
    compiled: Compiled = LANGUAGE.value("params.count + 1")
    assert [compiled.evaluate(scope(count=n)) for n in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["params.name", "[params.name]", "{'a': params.name}"])
def test_a_value_that_is_no_condition_is_not_told(text: str) -> None:
    compiled = LANGUAGE.value(text)
    with pytest.raises(StepError, match="not true or false") as caught:
        compiled.holds(scope(name="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_of_a_secret_an_expression_sees_where_it_is() -> None:
    language = Language([Parameter(name="word", type=ParameterType.SECRET, required=True)])
    values = Scope({"word": {"name": "bank", "key": "word"}}, {}, RUN)
    assert language.value("params.word.name + '/' + params.word.key").evaluate(values) == "bank/word"
    assert language.value("params.word").evaluate(values) == {"name": "bank", "key": "word"}
