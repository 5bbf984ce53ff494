"""One control plane for all campaigns, each with operators of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.arena import Arena


@pytest.fixture(scope="session")
def arena() -> Iterator[Arena]:
    """A control plane with places for four operators."""
    with Arena.up() as made:
        yield made
