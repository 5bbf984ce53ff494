"""Every action of the catalogue against its fault, at a real API server with real controllers and simulated nodes."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from apiserver import fidelity, scenarios
from apiserver.acting import Place
from apiserver.scenarios.scenario import (
    Scenario,
    check_every_right_is_needed_and_named,
    check_it_does_not_run_without,
    check_it_leaves_alone_what_was_mended,
    check_it_mends_once_and_puts_back,
)
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.action import Risk

FAMILIES = [
    importlib.import_module(f"apiserver.scenarios.{one.name}")
    for one in pkgutil.iter_modules(scenarios.__path__)
]
SCENARIOS: list[Scenario] = [scenario for family in FAMILIES for scenario in getattr(family, "SCENARIOS", ())]


LOSSES = [(scenario, what) for scenario in SCENARIOS for what in scenario.lost]


def test_every_action_that_changes_something_has_a_scenario() -> None:
    changing = {one.name for one in ActionRegistry(installed=False) if one.risk is not Risk.NONE}
    assert changing == {scenario.action for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_it_mends_its_fault_once_and_puts_back(place: Place, scenario: Scenario) -> None:
    """And a simulation of it, made before, had told how it would come out."""
    await check_it_mends_once_and_puts_back(scenario, place, fidelity.Twin(scenario, place))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_every_right_it_declares_is_needed_and_named_where_it_lacks(
    place: Place, scenario: Scenario
) -> None:
    await check_every_right_is_needed_and_named(scenario, place)


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.mended is not None], ids=str)
async def test_what_another_actor_mended_is_left_alone(place: Place, scenario: Scenario) -> None:
    await check_it_leaves_alone_what_was_mended(scenario, place)


@pytest.mark.parametrize(
    ("scenario", "what"), LOSSES, ids=[f"{scenario} without {what}" for scenario, what in LOSSES]
)
async def test_it_does_not_run_without_what_it_is_for(place: Place, scenario: Scenario, what: str) -> None:
    await check_it_does_not_run_without(scenario, what, place)
