"""What Kopf's watches meet: no refusal ends them, and while the API server is away they wait behind the breaker."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.cluster.watchsession import ListExpired, Refused, watch_session
from unit.cluster.wire import Reply, Request, connected, status

WATCH = "/apis/kubernaut.io/v1alpha1/workflows?watch=true&resourceVersion=7&timeoutSeconds=300"
KINDS = ("workflows",)


async def test_a_watch_from_a_version_that_is_too_old_begins_anew_without_one() -> None:
    def script(request: Request) -> Reply:
        return status(410, "Expired") if "resourceVersion" in request.path else Reply(200, {"type": "ADDED"})

    async with connected(script) as (wire, connection), watch_session(connection, KINDS) as session:
        async with session.get(wire.host + WATCH) as response:
            assert (response.status, await response.json()) == (200, {"type": "ADDED"})
        assert [request.path.split("?")[1] for request in wire.requests] == [
            "watch=true&resourceVersion=7&timeoutSeconds=300",
            "watch=true&timeoutSeconds=300",
        ]
        assert wire.requests[1].headers["authorization"] == "Bearer one"


@pytest.mark.parametrize("code", [403, 404, 410, 500, 503])
async def test_a_refusal_looks_like_a_broken_connection(code: int) -> None:
    async with (
        connected(lambda _: status(code, "No")) as (wire, connection),
        watch_session(connection, KINDS) as session,
    ):
        with pytest.raises(Refused, match=str(code)):
            await session.get(wire.host + WATCH)


async def test_a_list_whose_pages_have_expired_begins_anew() -> None:
    async with (
        connected(lambda _: status(410, "Expired")) as (wire, connection),
        watch_session(connection, KINDS) as session,
    ):
        with pytest.raises(ListExpired):
            await session.get(wire.host + "/apis/kubernaut.io/v1alpha1/workflows?limit=500&continue=x")


async def test_other_requests_are_answered_as_the_server_does() -> None:
    async with (
        connected(lambda _: status(404, "NotFound")) as (wire, connection),
        watch_session(connection, KINDS) as session,
        session.get(wire.host + "/apis") as response,
    ):
        assert response.status == 404


async def test_while_the_breaker_is_open_nothing_is_sent_and_then_all_go_on_at_once() -> None:
    refusals = [status(503, "ServiceUnavailable")] * 10

    def script(_: Request) -> Reply:
        return refusals.pop() if refusals else Reply(200, {})

    async with connected(script) as (wire, connection), watch_session(connection, KINDS) as session:
        for _ in range(10):
            with pytest.raises(Refused):
                await session.get(wire.host + WATCH)
        assert connection.breaker.is_open
        connection.breaker.failed(1000.0)
        waiting = [asyncio.create_task(session.get(wire.host + WATCH)) for _ in range(5)]
        await asyncio.sleep(0)
        sent = len(wire.requests)
        connection.breaker.succeeded()
        async with asyncio.timeout(10):
            for response in await asyncio.gather(*waiting):
                response.close()
        assert (sent, len(wire.requests)) == (10, 15)
