"""What all tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from virtual_time import IDLE_TURNS

# How fast a busy machine makes or tries examples says nothing of what is tested.
settings.register_profile("kubernaut", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kubernaut")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the clock of tests in virtual time move as soon as nothing is left to do."""
    for item in items:
        if item.get_closest_marker("looptime") is not None:
            item.add_marker(pytest.mark.looptime(noop_cycles=IDLE_TURNS))


@pytest.fixture(scope="session", autouse=True)
def _own_event_loop() -> Iterator[None]:
    """Give the main thread a loop that is closed in the end.

    pytest-asyncio asks for the thread's current loop before every test; where there is none, Python makes one that
    nobody closes, and the warning about it fails a test that has nothing to do with it.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
