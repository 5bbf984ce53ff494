"""Triggers: what they match, what they give, and what is wrong with them before any alert comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash
from kubernaut.core.errors import StepError
from kubernaut.core.triggers import Alert, PlannedTrigger, compile_triggers

ALERT = Alert(
    {"alertname": "CrashLooping", "namespace": "shop", "deployment": "web", "severity": "critical"},
    {"summary": "web crashes"},
    "0123456789abcdef",
    "2026-03-04T12:00:00+00:00",
    "http://prometheus/graph",
)


def spec(*triggers: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> WorkflowSpec:
    return WorkflowSpec.from_wire(
        {
            "serviceAccountName": "repair",
            "parameters": parameters
            if parameters is not None
            else [{"name": "deployment", "required": True}],
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
            "steps": [{"name": "restart", "action": "restart_deployment"}],
            "triggers": list(triggers),
        }
    )


def trigger(alert: dict[str, Any], value: str = "=alert.labels.deployment", **more: Any) -> dict[str, Any]:
    return {"alert": alert, "parameters": {"deployment": value}, **more}


def planned(*triggers: dict[str, Any]) -> PlannedTrigger:
    (found, *_), problems = compile_triggers(spec(*triggers))
    assert problems == []
    return found


def problems(*triggers: dict[str, Any], **more: Any) -> list[str]:
    return [f"{path}: {message}" for path, message, _ in compile_triggers(spec(*triggers, **more))[1]]


def matcher(name: str, how: str, value: str) -> str:
    return f"{name}{how}{json.dumps(value)}"


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        (matcher("severity", "=", "critical"), True),
        (matcher("severity", "=", "crit"), False),
        (matcher("severity", "!=", "warning"), True),
        (matcher("severity", "=~", "crit.*|warning"), True),
        (matcher("severity", "=~", "crit"), False),
        (matcher("severity", "!~", "crit"), True),
        (matcher("severity", "!~", "crit.*"), False),
        (matcher("team", "=", ""), True),
        (matcher("team", "!=", ""), False),
        (matcher("team", "=~", ".+"), False),
        (matcher("team", "!~", ".+"), True),
    ],
)
def test_matchers_compare_as_those_of_alertmanager_do(match: str, holds: bool) -> None:
    assert planned(trigger({"matchers": [match]})).matches(ALERT.labels) is holds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("severity=critical", "critical"),
        (' severity = "critical" ', "critical"),
        ("severity=", ""),
        (r'severity="a \"b\" \\ c\n"', 'a "b" \\ c\n'),
        ("severity=a|b", "a|b"),
    ],
)
def test_a_matcher_is_written_as_alertmanager_writes_it(text: str, value: str) -> None:
    assert planned(trigger({"matchers": [text]})).matches({"severity": value})
    assert not planned(trigger({"matchers": [text]})).matches({"severity": value + "x"})


def test_all_that_a_trigger_says_has_to_hold() -> None:
    both = {"matchLabels": {"alertname": "CrashLooping"}, "matchers": [matcher("severity", "=~", "crit.*")]}
    assert planned(trigger(both)).matches(ALERT.labels)
    assert not planned(trigger(both)).matches({**ALERT.labels, "severity": "info"})
    assert not planned(trigger(both)).matches({**ALERT.labels, "alertname": "Other"})
    assert planned(trigger(both)).names == frozenset({"CrashLooping"})
    assert planned(trigger({"matchers": [matcher("a", "=", "b")]})).names is None


def test_a_pattern_that_takes_others_for_ever_takes_no_time() -> None:
    evil = planned(trigger({"matchers": [matcher("severity", "=~", "(a+)+$")]}))
    assert not evil.matches({"severity": "a" * 1000 + "b"})


def test_parameters_come_from_the_alert_and_from_the_owner_of_what_it_is_about() -> None:
    alert = {"matchLabels": {"alertname": "CrashLooping"}}
    assert planned(trigger(alert)).values(ALERT) == {"deployment": "web"}
    assert planned(trigger(alert, "api")).values(ALERT) == {"deployment": "api"}
    owned = planned(trigger(alert, "=owner.name"))
    assert owned.uses_owner
    assert not planned(trigger(alert)).uses_owner
    assert owned.values(ALERT, {"name": "db"}) == {"deployment": "db"}
    for value in ("=alert.name", "=alert.annotations.summary", "=alert.startsAt", "=alert.fingerprint"):
        assert planned(trigger(alert, value)).values(ALERT)["deployment"]


def test_a_label_that_the_alert_has_not_is_told() -> None:
    with pytest.raises(StepError, match=r"alert\.labels\.statefulset") as refused:
        planned(trigger({"matchLabels": {"a": "b"}}, "=alert.labels.statefulset")).values(ALERT)
    assert refused.value.reason is Reason.EXPRESSION_FAILED


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            trigger({"matchers": [matcher("a", "=~", "(")]}),
            "spec.triggers[0].alert.matchers[0]: '(' is no",
        ),
        (trigger({"matchers": [matcher("a", "=~", "a)|(b")]}), "is no regular expression"),
        (trigger({"matchers": ["severity"]}), "'severity' is no matcher; write it as in severity=~"),
        (trigger({"matchers": ['a="b" c']}), "is no matcher"),
        (trigger({"matchLabels": {"0a": "b"}}), "spec.triggers[0].alert.matchLabels.0a: a label's name has"),
        (trigger({"matchLabels": {"a": "b"}}, "=alert.label"), "undeclared reference to 'alert.label'"),
        (trigger({"matchLabels": {"a": "b"}}, "=params.x"), "undeclared reference to 'params.x'"),
        (
            trigger({"matchLabels": {"a": "b"}}, "=alert.labels"),
            "gives MAP<STRING, STRING>, but parameter",
        ),
        ({"alert": {"matchLabels": {"a": "b"}}}, "gives no value to the required parameter deployment"),
        (
            {"alert": {"matchLabels": {"a": "b"}}, "parameters": {"deployment": "x", "other": "y"}},
            "declares no parameter 'other'; it declares: deployment",
        ),
    ],
)
def test_what_is_wrong_with_a_trigger_is_told_before_any_alert_comes(
    found: dict[str, Any], told: str
) -> None:
    assert any(told in one for one in problems(found)), problems(found)


def test_no_alert_may_choose_a_secret() -> None:
    secret = [{"name": "key", "type": "secret"}]
    found = {"alert": {"matchLabels": {"a": "b"}}, "parameters": {"key": "=alert.labels.secret"}}
    assert "no alert may choose a Secret" in problems(found, parameters=secret)[0]
    literal = {"alert": {"matchLabels": {"a": "b"}}, "parameters": {"key": "token/value"}}
    assert problems(literal, parameters=secret) == []


def test_a_literal_has_to_fit_its_type() -> None:
    count = [{"name": "count", "type": "integer"}]
    found = {"alert": {"matchLabels": {"a": "b"}}, "parameters": {"count": "many"}}
    assert problems(found, parameters=count)
    typed = {"alert": {"matchLabels": {"a": "b"}}, "parameters": {"count": "=int(alert.labels.n) + 1"}}
    (one,), found_problems = compile_triggers(spec(typed, parameters=count))
    assert found_problems == []
    assert one.values(Alert({"n": "2"}, {}, "f", "t")) == {"count": "3"}


def test_a_trigger_that_every_alert_would_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="every alert would start the Workflow"):
        spec(trigger({}))


def test_a_workflow_without_triggers_has_the_hash_it_had_before_there_were_any() -> None:
    """Else no run that is under way when the operator is upgraded would find its content."""
    before = "8c57216e8d246baa076f5884edd69aabdd1c4e40f12358d9df3ff059f953ae36"
    assert content_hash(spec(parameters=[])) == before
    assert content_hash(spec(trigger({"matchLabels": {"a": "b"}}))) != before
