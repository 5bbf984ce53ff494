"""Expressions give what Python would, whatever the values; templates without expressions give themselves."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Parameter, ParameterType
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import ExpressionInvalid, Language, Scope, template

RUN = {"uid": "u", "namespace": "shop", "name": "r"}
LANGUAGE = Language(
    [Parameter(name="text", required=True), Parameter(name="n", type=ParameterType.INTEGER, required=True)],
)
# The CEL library cuts a text at NUL; what no UTF-8 can carry never comes from the API server.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
leaves = st.none() | st.booleans() | number | st.floats(allow_nan=False, allow_infinity=False) | text
trees = st.recursive(
    leaves, lambda t: st.lists(t, max_size=3) | st.dictionaries(text, t, max_size=3), max_leaves=8
)


def scope(target: Any = None, text: str = "", n: int = 0) -> Scope:
    return Scope({"text": text, "n": n}, {}, RUN, {"x": target})


@settings(max_examples=60)
@given(trees)
def test_what_is_seen_comes_out_as_it_is(tree: Any) -> None:
    assert LANGUAGE.value("target.x").evaluate(scope(tree)) == tree


@settings(max_examples=60)
@given(text, number)
def test_parameters_come_out_as_they_are(given_text: str, n: int) -> None:
    found = template(LANGUAGE, ["=params.text", "=params.n", "=params.text.size()"])
    assert found.render(scope(None, given_text, n)) == [given_text, n, len(given_text)]


@settings(max_examples=60)
@given(text)
def test_a_literal_in_an_expression_refers_to_nothing(literal: str) -> None:
    for inner in (literal, f"{literal} steps.zz target steps['zz']"):
        quoted = json.dumps(inner, ensure_ascii=False)
        compiled = LANGUAGE.value(f"{quoted} == steps['roll-back'].phase")
        assert (set(compiled.steps), compiled.uses_target) == ({"roll-back"}, False)


def _escaped(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _escaped(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_escaped(child) for child in node]
    return f"={node}" if isinstance(node, str) and node.startswith("=") else node


@settings(max_examples=60)
@given(trees)
def test_an_escaped_value_stays_as_it_was(tree: Any) -> None:
    found = template(LANGUAGE, _escaped(tree))
    assert not found.expressions
    assert found.render(scope()) == tree


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from([*"+-*/()[].'\"?:=!<>&|,{}\\\n", "steps", "target", "a", "1", "params.n", "//", "r'"])
    )
)
def test_any_text_compiles_or_is_refused_in_one_line(tokens: list[str]) -> None:
    written, told = " ".join(tokens), ""
    try:
        LANGUAGE.value(written).evaluate(scope())
    except ExpressionInvalid as error:
        told = str(error)
    except StepError as error:
        told = str(error) if error.reason is Reason.EXPRESSION_FAILED else "another reason\n"
    assert "\n" not in told
