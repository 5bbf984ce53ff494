"""Flags of features, and capacities of named resources, in the switch's ConfigMap."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apiserver.cli.space import WORKFLOW, Space


@pytest.fixture
def switched(space: Space) -> Space:
    """A namespace with a switch of its own."""
    space.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubernaut-switch"}})
    return space


def entries(space: Space) -> dict[str, Any]:
    found = json.loads(space.kubectl("get", "configmap", "kubernaut-switch", "-o", "json"))
    return dict(found.get("data") or {})


def test_features_are_switched_and_taken_back(switched: Space) -> None:
    assert switched("features", "rollback=off", "capacity.node-drain=3") == 0
    assert entries(switched) == {"feature.rollback": "off", "capacity.node-drain": "3"}
    assert switched("features", "off", "eta", "events") == 0
    assert switched("features", "on", "events", "-o", "json") == 0
    states = json.loads(switched.out)["features"]
    assert {name for name, state in states.items() if state == "off"} == {"rollback", "eta"}
    assert switched("features", "eta", "--reset") == 0
    assert entries(switched) == {
        "feature.rollback": "off",
        "feature.events": "on",
        "capacity.node-drain": "3",
    }
    assert switched("features", "--reset") == 0
    assert entries(switched) == {"capacity.node-drain": "3"}


def test_an_entry_that_nobody_understands_can_be_taken_away(switched: Space) -> None:
    patch = json.dumps({"data": {"feature.rolback": "off"}})
    switched.kubectl("patch", "configmap", "kubernaut-switch", "--type=merge", "-p", patch)
    assert switched("features") == 0
    assert "there is no such feature (did you mean rollback?)" in switched.err
    assert switched("features", "rolback", "--reset") == 0
    assert entries(switched) == {}


def test_capacities_are_set_listed_with_who_takes_of_them_and_taken_back(switched: Space) -> None:
    step = {"name": "drain", "action": "notify_only", "resources": [{"name": "node-drain"}]}
    switched.apply({**WORKFLOW, "spec": {**WORKFLOW["spec"], "steps": [step]}})
    assert switched("capacities", "gpu=0", "node-drain=2") == 0
    lines = [line.split() for line in switched.out.splitlines()]
    assert ["gpu", "0", "-"] in lines
    drain = next(line for line in lines if line[0] == "node-drain")
    assert drain[1] == "2"
    assert f"{switched.namespace}/crash-loop" in " ".join(drain)
    assert switched("capacities", "node-drain", "--reset") == 0
    assert entries(switched) == {"capacity.gpu": "0"}
    assert switched("capacities", "-o", "json") == 0
    told = {one["resource"]: one["capacity"] for one in json.loads(switched.out)}
    assert (told["gpu"], told["node-drain"]) == (0, 1)
    assert switched("capacities", "--reset") == 0
    assert entries(switched) == {}


WRONG = [
    (["features", "rolback=off"], "there is no feature 'rolback' (did you mean rollback?)"),
    (["features", "rollback=maybe"], "a feature is on or off"),
    (["features", "rollback"], "'rollback' is not NAME=VALUE"),
    (["features", "off"], "off needs the name of a feature"),
    (["features", "rollback=off", "--reset"], "with --reset a name has no value"),
    (["capacities", "node-drain"], "this is not RESOURCE=NUMBER"),
    (["capacities", "node-drain=many"], "is no whole number"),
    (["capacities", "Node_Drain=1"], "a resource is named like node-drain"),
    (["capacities", "node-drain=1", "--reset"], "with --reset a name has no value"),
]


def test_wrong_settings_are_refused_and_nothing_is_written(switched: Space) -> None:
    for arguments, told in WRONG:
        assert switched(*arguments) == 1
        assert told in switched.err
    assert entries(switched) == {}


def test_where_there_is_no_switch_it_is_told(space: Space) -> None:
    for command in ("features", "capacities"):
        assert space(command) == 4
        assert f"there is no ConfigMap {space.namespace}/kubernaut-switch" in space.err
