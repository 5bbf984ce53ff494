"""Over the whole suite: every right that is shipped was used, and none lacked.

The clusters of all stages leave behind what was used of our roles (hack/localcluster/uses.py); this comes last.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from localcluster import uses
from rights.granted import lacking, never_acted, shipped, used

ROOT = Path(__file__).resolve().parents[2]
USES = ROOT / "build" / "test" / "uses"
#: of the clusters of all stages that have one
CLUSTERS = 4


@pytest.fixture(scope="module")
def summaries() -> list[dict[str, Any]]:
    """What each cluster of the suite left behind."""
    found = [json.loads(path.read_text()) for path in sorted(USES.glob("*.json"))]
    if uses.VARIABLE not in os.environ:
        pytest.skip("only the whole suite shows what is used: run make test")
    assert len(found) >= CLUSTERS, f"{USES} has {len(found)} summaries: a stage left none, or did not run"
    return found


def test_every_right_that_is_shipped_was_used(summaries: list[dict[str, Any]]) -> None:
    unused = sorted(map(str, shipped() - used(summaries)))
    print("granted and never used:", *(unused or ["nothing"]), sep="\n  ")
    assert unused == []


def test_every_right_of_a_family_of_actions_was_used(summaries: list[dict[str, Any]]) -> None:
    unused = sorted(map(str, never_acted(summaries)))
    print("granted and never used:", *(unused or ["nothing"]), sep="\n  ")
    assert unused == []


def test_no_right_lacked(summaries: list[dict[str, Any]]) -> None:
    refused = lacking(summaries)
    print(
        "refused for want of a right:", *(f"{told} ({times})" for told, times in refused.items()), sep="\n  "
    )
    assert refused == {}
