"""Statuses that Argo CD's scripts are tried on are what the operator and the analyst write."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml

from kubernaut.api.crd import KINDS
from unit.argocd.customizations import FOLDER, stored
from unit.argocd.recording import RECORDERS

pytestmark = pytest.mark.looptime
CASES = [(kind, name) for kind, cases in RECORDERS.items() for name in cases]
RECORD = os.environ.get("KUBERNAUT_RECORD") == "1"


# They change with each new field of a Workflow, and say nothing here.
OPAQUE = ("contentHash", "snapshot", "resourceVersion")


def rounded(value: Any) -> Any:
    """Return a value without the last digits of what is computed, in which machines differ."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def told(value: Any) -> Any:
    """Return what is compared."""
    if isinstance(value, dict):
        return {key: told(part) for key, part in value.items() if key not in OPAQUE}
    return [told(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("kind", "name"), CASES)
async def test_stored_objects_are_those_that_are_recorded(kind: str, name: str) -> None:
    """With KUBERNAUT_RECORD=1 they are written anew."""
    found = rounded(await RECORDERS[kind][name]())
    path = FOLDER / kind / "testdata" / f"{name}.yaml"
    if RECORD:
        path.write_text(yaml.safe_dump(found, sort_keys=False, width=110))
    kept = yaml.safe_load(path.read_text())
    assert told(kept) == told(found), "look at what changed, run this with KUBERNAUT_RECORD=1, and commit"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_stored_objects_are_valid_and_all_are_recorded(kind: Any) -> None:
    files = stored(kind.name)
    assert {path.stem for path in files} == set(RECORDERS[kind.name])
    for path in files:
        kind.model.from_wire(yaml.safe_load(path.read_text()))
