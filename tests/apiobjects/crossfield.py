"""Objects that break rules which span several fields, each beside the twin that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from apiobjects.examples import full_workflow
from apiobjects.mutants import Mutant


def _workflow(**spec: Any) -> dict[str, Any]:
    whole = full_workflow()
    return whole | {"spec": whole["spec"] | spec}


def _step(label: str, valid: bool, **step: Any) -> Mutant:
    return Mutant(f"step {label}", _workflow(steps=[{"name": "only"} | step]), valid)


def cross_field_cases() -> Iterator[Mutant]:
    """Yield Workflows; the other kinds have no such rules within one object."""
    yield from _kinds_of_steps()
    yield from _waits()
    yield from _for_each()
    yield from _alternates()
    yield from _parameters()
    yield from _storms()
    yield from _triggers()
    yield from _expectations()
    for length, valid in ((63, True), (64, False)):
        named = _workflow()
        named["metadata"] = named["metadata"] | {"name": "a" * length}
        yield Mutant(f"name of {length}", named, valid)


def _triggers() -> Iterator[Mutant]:
    labels, matchers = {"alertname": "Broken"}, ["severity=critical"]
    for told, alert, valid in (
        ("labels", {"matchLabels": labels}, True),
        ("matchers", {"matchers": matchers}, True),
        ("both", {"matchLabels": labels, "matchers": matchers}, True),
        ("nothing", {}, False),
        ("empty ones", {"matchLabels": {}, "matchers": []}, False),
    ):
        yield Mutant(f"a trigger of {told}", _workflow(triggers=[{"alert": alert}]), valid)


def _expectations() -> Iterator[Mutant]:
    expect, metrics = ["true"], [{"name": "up", "query": "up", "expect": "value > 0.0"}]
    for told, verify, valid in (
        ("the target", {"expect": expect}, True),
        ("metrics", {"metrics": metrics}, True),
        ("metrics and nothing of the target", {"expect": [], "metrics": metrics}, True),
        ("both", {"expect": expect, "metrics": metrics}, True),
        ("nothing", {}, False),
        ("empty lists", {"expect": [], "metrics": []}, False),
        ("a metric twice", {"metrics": metrics * 2}, False),
    ):
        yield Mutant(f"verify of {told}", _workflow(verify=verify), valid)


def _kinds_of_steps() -> Iterator[Mutant]:
    kinds: dict[str, Any] = {
        "action": "notify_only",
        "wait": {"duration": "1s"},
        "approval": {},
        "workflow": {"name": "other"},
        "switch": {"cases": [{"name": "one", "when": "true", "template": "gently"}]},
        "forEach": {"items": ["a"], "template": "gently"},
    }
    yield _step("of no kind", False)
    yield _step("of all kinds", False, **kinds)
    for kind, body in kinds.items():
        yield _step(kind, True, **{kind: body})
        yield Mutant(f"finally {kind}", _workflow(**{"finally": [{"name": "only", kind: body}]}), True)
    for one, other in combinations(kinds, 2):
        yield _step(f"{one} and {other}", False, **{one: kinds[one], other: kinds[other]})
        yield _step(f"{one} and {other}: null", True, **{one: kinds[one], other: None})
    two = {"name": "only", "action": "notify_only", "wait": {"duration": "1s"}}
    yield Mutant("of two kinds in a template", _workflow(templates=[{"name": "t", "steps": [two]}]), False)
    yield Mutant("of two kinds under finally", _workflow(**{"finally": [two]}), False)
    yield _step("action with", True, action="notify_only", **{"with": {"a": 1}})
    yield _step("wait with", False, wait={"duration": "1s"}, **{"with": {"a": 1}})
    yield _step("wait with nothing", False, wait={"duration": "1s"}, **{"with": {}})
    yield _step("action onUnknown", True, action="notify_only", onUnknown="Retry")
    yield _step("wait onUnknown", False, wait={"duration": "1s"}, onUnknown="Fail")
    yield _step("wait onUnknown: null", True, wait={"duration": "1s"}, onUnknown=None)
    yield _step("workflow with", False, workflow={"name": "other"}, **{"with": {"a": 1}})


def _waits() -> Iterator[Mutant]:
    seen = {"apiVersion": "v1", "kind": "Service", "name": "shop"}
    yield _step("wait for nothing", False, wait={})
    yield _step("wait for both", False, wait={"duration": "1s", "until": "true"})
    yield _step("wait until on an object", True, wait={"until": "true", "object": seen})
    yield _step("wait for a while on an object", False, wait={"duration": "1s", "object": seen})
    yield _step("wait for a while on no object", True, wait={"duration": "1s", "object": None})
    yield _step("wait on an object alone", False, wait={"object": seen})


def _for_each() -> Iterator[Mutant]:
    sources: dict[str, Any] = {
        "items": ["a"],
        "itemsFrom": "steps.a.outputs.b",
        "select": {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=web"},
    }
    yield _step("forEach of nothing", False, forEach={"template": "gently"})
    yield _step("forEach of all", False, forEach=sources | {"template": "gently"})
    for name, source in sources.items():
        yield _step(f"forEach {name}", True, forEach={name: source, "template": "gently"})
    for one, other in combinations(sources, 2):
        both = {one: sources[one], other: sources[other], "template": "gently"}
        yield _step(f"forEach {one} and {other}", False, forEach=both)
        yield _step(f"forEach {one} and {other}: null", True, forEach=both | {other: None})


def _alternates() -> Iterator[Mutant]:
    for given, valid in (
        ({}, True),
        ({"onFailure": "Alternate", "alternate": "gently"}, True),
        ({"onFailure": "Alternate"}, False),
        ({"onFailure": "Alternate", "alternate": None}, False),
        ({"alternate": "gently"}, False),
        ({"onFailure": None, "alternate": "gently"}, False),
        ({"onFailure": "Rollback", "alternate": "gently"}, False),
        ({"onFailure": "Rollback"}, True),
        ({"onFailure": "Rollback", "alternate": None}, True),
    ):
        yield _step(f"{given}", valid, action="notify_only", **given)
        whole = _workflow()
        spec = {
            name: value for name, value in whole["spec"].items() if name not in ("onFailure", "alternate")
        }
        yield Mutant(f"workflow {given}", whole | {"spec": spec | given}, valid)


def _parameters() -> Iterator[Mutant]:
    for given, valid in (
        ({"required": True}, True),
        ({"default": ""}, True),
        ({"required": False, "default": "1"}, True),
        ({"required": True, "default": None}, True),
        ({"required": True, "default": ""}, False),
    ):
        yield Mutant(f"parameter {given}", _workflow(parameters=[{"name": "one"} | given]), valid)


def _storms() -> Iterator[Mutant]:
    for given, valid in (
        ({}, True),
        ({"within": "5m", "cooldown": "5m"}, True),
        ({"within": "6m", "cooldown": "5m"}, False),
        ({"within": "16m"}, False),
        ({"cooldown": "4m"}, False),
        ({"within": None, "cooldown": "5m"}, True),
        ({"within": "15m", "cooldown": None}, True),
        ({"within": "60m", "cooldown": "1h"}, True),
    ):
        yield Mutant(f"storm {given}", _workflow(guards={"storm": {"runs": 3} | given}), valid)
