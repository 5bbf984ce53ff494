"""The Role of any Workflow gives what its steps declare, loses none of it by merging, and adds nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import a_workflow, steps
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.compiling import compile_plan
from kubernaut.core.ports import ObjectRef, Right
from kubernaut.core.rights import Need, Needs, needed, singly
from kubernaut.core.rules import lacking, merged

REGISTRY = ActionRegistry(installed=False)
TARGET = ObjectRef("apps/v1", "Deployment", "", "web")
names = st.sampled_from(("web", "api", "cache"))
rights = st.builds(
    Right,
    st.sampled_from(("get", "list", "patch", "create", "delete")),
    st.sampled_from(("", "apps")),
    st.sampled_from(("pods", "pods/eviction", "deployments", "secrets")),
    st.lists(names, unique=True, max_size=3).map(lambda found: tuple(sorted(found))),
)
needs = st.lists(st.builds(Need, rights, st.sampled_from(("one", "two", "three"))), max_size=24)


def covered(found: Iterable[Right]) -> frozenset[Right]:
    """Return single rights without those that another one on any name covers."""
    single = frozenset(singly(found))
    return frozenset(
        one for one in single if not one.names or Right(one.verb, one.group, one.resource) not in single
    )


@settings(max_examples=300)
@given(needs)
def test_merging_loses_nothing_and_adds_nothing(wanted: list[Need]) -> None:
    rules = merged(wanted)
    given_rights = list(itertools.chain(*(rule.rights() for rule in rules)))
    assert len(given_rights) == len(set(given_rights)), "something is given twice"
    assert set(given_rights) == covered(need.right for need in wanted)


@settings(max_examples=200)
@given(needs, st.randoms())
def test_the_rules_are_the_same_whatever_the_order(wanted: list[Need], random: Any) -> None:
    shuffled = list(wanted)
    random.shuffle(shuffled)
    assert merged(shuffled) == merged(wanted)


@settings(max_examples=200)
@given(needs, needs)
def test_what_lacks_is_just_what_the_rules_do_not_give(wanted: list[Need], other: list[Need]) -> None:
    rules = merged(other)
    manifests = [rule.manifest() for rule in rules]
    all_given = frozenset(itertools.chain(*(rule.rights() for rule in rules)))
    for need in wanted:
        lacks = lacking(manifests, need.right)
        there = [
            one
            for one in singly([need.right])
            if one in all_given or Right(one.verb, one.group, one.resource) in all_given
        ]
        assert set(there) | set(singly([lacks] if lacks else [])) == set(singly([need.right]))


@st.composite
def literal_steps(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return an action and its parameters, all literal."""
    name = draw(st.one_of(st.none(), names))
    named = {} if name is None else {"name": name}
    choices: list[tuple[str, dict[str, Any]]] = [
        ("restart_deployment", named),
        ("rollback_deployment", named),
        (
            "scale_deployment",
            {**named, "replicas": 2, "autoscaler": draw(st.sampled_from(("Ignore", "Refuse")))},
        ),
        ("collect_diagnostics", {"logs": draw(st.booleans()), "events": draw(st.booleans())}),
        ("restart_pod", {"name": "a", "method": draw(st.sampled_from(("evict", "delete")))}),
        ("restart_pod", {"unhealthy": True}),
        ("notify_only", {"message": "x"}),
        (
            "patch_resource",
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "patch": {"data": {draw(names): "1"}}},
        ),
        ("select_objects", {"apiVersion": "v1", "kind": "Pod", "labelSelector": "a=b"}),
    ]
    chosen: tuple[str, dict[str, Any]] = draw(st.sampled_from(choices))
    return chosen


def plan_needs(chosen: list[tuple[str, dict[str, Any]]], params: dict[str, Any] | None = None) -> Needs:
    workflow, body = a_workflow(), steps()
    for at, (action, with_) in enumerate(chosen):
        (workflow if at % 2 == 0 else body).step(f"s{at}", action, with_=with_)
    if len(chosen) > 1:
        workflow.each("each", items=["x", "y"]).template("one", body)
    workflow.parameter("p", default="web").parameter("b", "boolean", default="true")
    return needed(compile_plan(workflow.spec(), REGISTRY), params or {})


@settings(max_examples=150)
@given(st.lists(literal_steps(), min_size=1, max_size=6))
def test_the_rules_give_all_that_each_step_declares(chosen: list[tuple[str, dict[str, Any]]]) -> None:
    found = plan_needs(chosen)
    rules = [rule.manifest() for rule in merged(found.needs)]
    for action_name, with_ in chosen:
        action = REGISTRY.get(action_name)
        for right in action.rights(TARGET, action.parameters.model_validate(with_)):
            # RBAC looks at no name where an object is created.
            nameless = right.verb == "create" and "/" not in right.resource
            asked = Right(right.verb, right.group, right.resource) if nameless else right
            assert lacking(rules, asked) is None
    assert not found.unclear


@settings(max_examples=100)
@given(st.lists(literal_steps(), min_size=1, max_size=4), st.data())
def test_what_is_not_known_never_makes_the_rights_less(
    chosen: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    """Hide one value of a step behind a parameter: its rights hold whatever that turns out to be."""
    known = plan_needs(chosen)
    at = data.draw(st.integers(0, len(chosen) - 1))
    action, with_ = chosen[at]
    hideable = [key for key in with_ if key in ("name", "method", "autoscaler", "logs", "events", "message")]
    if not hideable:
        return
    key = data.draw(st.sampled_from(hideable))
    hidden = {**with_, key: "=params.b" if isinstance(with_[key], bool) else "=params.p"}
    unknown = plan_needs([*chosen[:at], (action, hidden), *chosen[at + 1 :]])
    rules = [rule.manifest() for rule in merged(unknown.needs)]
    assert all(lacking(rules, need.right) is None for need in known.needs)
    value = with_[key]
    again = plan_needs(
        [*chosen[:at], (action, hidden), *chosen[at + 1 :]], {"b" if isinstance(value, bool) else "p": value}
    )
    assert merged(again.needs) == merged(known.needs)
