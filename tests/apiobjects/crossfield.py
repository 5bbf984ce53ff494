"""Objects that break rules which span several fields, each beside the twin that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
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
    action, wait, approval = "notify_only", {"duration": "1s"}, {"message": "May I?"}
    yield _step("action", True, action=action)
    yield _step("wait", True, wait=wait)
    yield _step("approval", True, approval=approval)
    yield _step("approval {}", True, approval={})
    yield _step("of no sort", False)
    yield _step("of two sorts", False, action=action, wait=wait)
    yield _step("of three sorts", False, action=action, wait=wait, approval=approval)
    yield _step("of one sort and a null", True, action=action, wait=None)
    yield _step("action with", True, action=action, **{"with": {"a": 1}})
    yield _step("wait with", False, wait=wait, **{"with": {"a": 1}})
    yield _step("wait with nothing", False, wait=wait, **{"with": {}})
    yield _step("wait for nothing", False, wait={})
    yield _step("wait for both", False, wait={"duration": "1s", "until": "true"})
    for given, valid in (
        ({"required": True}, True),
        ({"default": ""}, True),
        ({"required": False, "default": "1"}, True),
        ({"required": True, "default": None}, True),
        ({"required": True, "default": ""}, False),
    ):
        yield Mutant(f"parameter {given}", _workflow(parameters=[{"name": "one"} | given]), valid)
    for length, valid in ((63, True), (64, False)):
        named = _workflow()
        named["metadata"] = named["metadata"] | {"name": "a" * length}
        yield Mutant(f"name of {length}", named, valid)
