"""Each attempt of tests/escalation/tables to get more rights is refused by who has to, and its allowed twin passes.

What only the operator decides is tried in tests/e2e/test_escalation.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.rest import Client
from escalation.cast import Cast, dropped, refuser
from escalation.rows import DROPPED, Row
from escalation.tables import ROWS
from localcluster import Cluster


@pytest.fixture(scope="module")
def cast(cluster: Cluster) -> Iterator[Cast]:
    """Everybody on the stage: one for all rows, for none of them changes anything."""
    with Client(cluster.kubeconfig) as admin, Cast(admin) as cast:
        try:
            cast.set_the_stage()
            yield cast
        finally:
            cast.clear_the_stage()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_attempt_is_refused_and_its_twin_is_not(cast: Cast, row: Row) -> None:
    answer = cast.send(row.attempt)
    told = DROPPED if row.refused_by == DROPPED and dropped(answer) else refuser(answer)
    assert told == row.refused_by, f"{told or 'nobody refused it'}: {answer.status} {answer.message}"
    twin = cast.send(row.twin)
    assert twin.ok, f"the twin of {row.twin.who} was refused: {twin.status} {twin.message}"
