"""The registry: what is there, what installed packages add, what is told of the rest."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from kubernaut.actions import registry
from kubernaut.actions.generic.notify_only import NotifyOnly, NotifyOnlyParameters
from kubernaut.actions.registry import ActionInvalid, ActionRegistry
from kubernaut.api.reasons import Reason
from kubernaut.core import limits
from kubernaut.core.action import Action, Idempotency, Risk
from kubernaut.core.errors import StepError
from kubernaut.core.guards.risk import high
from unit.actions.builders import context, deployment
from unit.actions.fake import FakeCluster

# Each has its page, and no page is left of one that is gone.
BUILTIN = tuple(
    sorted(path.stem for path in (Path(__file__).resolve().parents[3] / "docs" / "actions").glob("*_*.md"))
)


class Wave(NotifyOnly):
    """An action of another package."""

    name = "wave"


class Run(NotifyOnly):
    """An action of another package that would be taken for the one behind subflows."""

    name = "run_workflow"


class NoAction:
    """Lacks everything but a name."""

    name = "nothing"


def test_the_built_in_actions_are_there() -> None:
    found = ActionRegistry(installed=False)
    assert found.names() == BUILTIN
    assert [action.name for action in found] == list(BUILTIN)
    assert len(found) == len(BUILTIN)


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        ("rolback_deployment", "rollback_deployment"),
        ("restart-deployment", "restart_deployment"),
        ("Restart_Pod", "restart_pod"),
        ("xyz", None),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(unknown: str, near: str | None) -> None:
    found = ActionRegistry(installed=False)
    assert found.find(unknown) is None
    assert found.suggest(unknown) == near
    with pytest.raises(
        StepError, match=f"did you mean '{near}'" if near else f"there are: {BUILTIN[0]}"
    ) as caught:
        found.get(unknown)
    assert caught.value.reason is Reason.UNKNOWN_ACTION


@pytest.mark.parametrize("action", registry.builtin(), ids=lambda action: action.name)
def test_every_action_documents_itself(action: Action[Any]) -> None:
    assert inspect.getdoc(type(action))
    assert inspect.getdoc(action.undo)
    assert action.summary
    assert (action.risk is Risk.NONE) == (action.idempotency is Idempotency.READ_ONLY)
    schema = ActionRegistry(installed=False).schema(action.name)
    assert schema["additionalProperties"] is False
    assert all(one.get("description") for one in schema["properties"].values())
    assert limits.outputs_problem(dict.fromkeys(action.outputs, "")) is None


def test_drains_deletes_failovers_restores_and_what_acts_on_nodes_are_of_high_risk_and_so_have_a_breaker() -> (
    None
):
    words = ("drain", "delete", "failover", "restore", "remove", "restart", "node")
    named = [one for one in registry.builtin() if not set(one.name.split("_")).isdisjoint(words)]
    assert len(named) > 12
    assert [one.name for one in named if not high(one, ("apps/v1", "Deployment"), {})] == []
    gentle = ActionRegistry(installed=False).get("scale_deployment")
    assert not high(gentle, ("apps/v1", "Deployment"), {})


def test_no_step_can_name_an_internal_action() -> None:
    found = ActionRegistry(installed=False)
    assert found.internal("run_workflow").idempotency is Idempotency.NAMED
    assert found.find("run_workflow") is None
    assert "run_workflow" not in found.names()
    with pytest.raises(StepError) as caught:
        found.get("run_workflow")
    assert caught.value.reason is Reason.UNKNOWN_ACTION


def test_an_installed_package_can_not_take_the_name_of_an_internal_action(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, f"{__name__}:Run")
    with pytest.raises(ActionInvalid, match="the name run_workflow is taken"):
        ActionRegistry()


def install(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"one-{value}", value, registry.GROUP) for value in values]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])


def test_an_installed_package_adds_an_action(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:Wave")
    found = ActionRegistry()
    assert found.get("wave").summary == NotifyOnly.summary
    assert len(found) == len(BUILTIN) + 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_package:X", "can't be loaded: No module named 'no_such_package'"),
        (f"{__name__}:NoAction", "is not an action: it lacks summary, risk"),
        ("kubernaut.actions.generic.notify_only:NotifyOnly", "the name notify_only is taken"),
    ],
)
def test_an_installed_package_that_offers_no_action_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    install(monkeypatch, value)
    with pytest.raises(ActionInvalid, match=told):
        ActionRegistry()


async def test_notify_only_says_and_changes_nothing() -> None:
    cluster = FakeCluster().add(deployment())
    notify, parameters = NotifyOnly(), NotifyOnlyParameters(message="3 restarts")
    assert notify.rights(None, parameters) == ()
    assert await notify.prepare(cluster, context(), parameters) is None
    done = await notify.perform(cluster, context(), parameters)
    assert (done.acted, done.message, done.outputs) == (False, "3 restarts", {"message": "3 restarts"})
    assert not (await notify.undo(cluster, context(), parameters)).acted
    assert cluster.requests == []


def test_defaults_are_told_as_people_write_them() -> None:
    properties = ActionRegistry(installed=False).schema("silence_alert")["properties"]
    assert (properties["duration"]["default"], properties["requestTimeout"]["default"]) == ("1h", "10s")
