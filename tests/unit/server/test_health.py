"""The endpoint: liveness hangs on progress, readiness on being started, metrics are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from kubernaut.engine.gauges import MOST_WORKFLOWS, hide_workflow, show_workflow
from kubernaut.server import health as module
from kubernaut.server.health import HealthServer


class State:
    seconds = 0.5
    reason: str | None = None


@pytest.fixture
async def server() -> AsyncIterator[tuple[State, str]]:
    state = State()
    health = HealthServer("127.0.0.1", 0, lambda: state.seconds, lambda: state.reason)
    port = await health.start()
    yield state, f"http://127.0.0.1:{port}"
    await health.stop()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_liveness_fails_when_no_worker_has_done_anything_for_long(server: tuple[State, str]) -> None:
    state, url = server
    assert (await get(f"{url}/healthz"))[0] == 200
    state.seconds = 60
    status, text = await get(f"{url}/healthz")
    assert status == 503
    assert "60 s" in text


async def test_a_connection_on_which_nothing_is_asked_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.2)
    health = HealthServer("127.0.0.1", 0, lambda: 0.0, lambda: None)
    port = await health.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /met")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    finally:
        await health.stop()


async def test_readiness_says_why_not(server: tuple[State, str]) -> None:
    state, url = server
    assert await get(f"{url}/readyz") == (200, "ok\n")
    state.reason = "the operator is starting"
    assert await get(f"{url}/readyz") == (503, "the operator is starting\n")


async def test_metrics_are_served_for_prometheus(server: tuple[State, str]) -> None:
    _, url = server
    status, text = await get(f"{url}/metrics")
    assert status == 200
    assert "# TYPE kubernaut_runs_live gauge" in text


async def test_the_page_of_metrics_stays_short_however_many_workflows_there_are(
    server: tuple[State, str],
) -> None:
    _, url = server
    names = [f"shop/flow-{number}" for number in range(1_000)]
    try:
        for name in names:
            show_workflow(name)
        _, text = await get(f"{url}/metrics")
    finally:
        for name in names:
            hide_workflow(name)
    assert text.count("kubernaut_workflow_runs_total{") <= 8 * (MOST_WORKFLOWS + 1)
    assert "_created" not in text
