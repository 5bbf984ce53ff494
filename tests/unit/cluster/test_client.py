from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubernaut.cluster import client
from kubernaut.cluster.breaker import Breaker
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.credentials import load_credentials
from kubernaut.core.errors import (
    ClusterError,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.ports import ObjectRef
from unit.cluster.wire import Hang, Reply, Request, Reset, Script, Settings, connected, credentials, status

POD = ObjectRef("v1", "Pod", "shop", "x")
MADE = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "shop"}}
Mutation = Callable[[ApiConnection], object]

MUTATIONS = [
    pytest.param(lambda c: c.own().patch(POD, {}, resource_version="7"), id="patch"),
    pytest.param(
        lambda c: c.own().patch(POD, {}, resource_version="7", subresource="status"), id="patch of a status"
    ),
    pytest.param(lambda c: c.own().create(MADE), id="create"),
    pytest.param(lambda c: c.own().delete(POD, uid="u"), id="delete"),
    pytest.param(lambda c: c.own().evict(POD, uid="u"), id="evict"),
]


@pytest.mark.parametrize("mutate", MUTATIONS)
async def test_a_mutation_whose_answer_is_lost_is_sent_once_and_its_outcome_unknown(mutate: Mutation) -> None:
    async with connected(lambda r: Reply() if r.method == "GET" else Reset()) as (wire, connection):
        await connection.own().get(POD)  # so that the mutation goes over a connection that was kept
        with pytest.raises(UnknownOutcome, match="may or may not have happened"):
            await mutate(connection)  # type: ignore[misc]
        assert [r.method for r in wire.requests].count("GET") == 1
        assert len(wire.requests) == 2
        assert connection.mutations.total() == 1


@pytest.mark.parametrize("mutate", MUTATIONS)
async def test_a_mutation_whose_answer_is_cut_short_has_an_unknown_outcome(mutate: Mutation) -> None:
    async with connected(lambda _: Reply(200, {}, cut=True)) as (wire, connection):
        with pytest.raises(UnknownOutcome):
            await mutate(connection)  # type: ignore[misc]
        assert len(wire.requests) == 1


async def test_a_mutation_without_an_answer_in_time_has_an_unknown_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(lambda _: Hang()) as (wire, connection):
        send = connection.send
        monkeypatch.setattr(
            connection, "send", lambda call, account: send(call, account=account, timeout=0.05)
        )
        with pytest.raises(UnknownOutcome):
            await connection.own().patch(POD, {}, resource_version="7")
        assert len(wire.requests) == 1


@pytest.mark.parametrize("mutate", MUTATIONS)
async def test_without_a_connection_nothing_has_happened(mutate: Mutation) -> None:
    async with connected(lambda _: Reply()) as (wire, _):
        host = wire.host
    async with ApiConnection(credentials(host)) as connection:
        with pytest.raises(Unavailable, match="no connection"):
            await mutate(connection)  # type: ignore[misc]


async def test_a_read_without_an_answer_is_unavailable() -> None:
    async with connected(lambda _: Reset()) as (_, connection):
        with pytest.raises(Unavailable):
            await connection.own().get(POD)


async def test_a_read_over_a_connection_that_died_is_repeated() -> None:
    seen: list[Request] = []

    def script(request: Request) -> Reply | Reset:
        seen.append(request)
        return Reset() if len(seen) == 2 else Reply(200, {"metadata": {"name": "x"}})

    async with connected(script) as (_, connection):
        await connection.own().get(POD)
        assert (await connection.own().get(POD))["metadata"]["name"] == "x"
        assert len(seen) == 3


async def test_acts_as_the_account_and_says_who_it_is() -> None:
    async with connected(lambda _: Reply()) as (wire, connection):
        await connection.own().get(POD)
        await connection.as_account("shop", "repair").get(POD)
    own, repair = (request.headers for request in wire.requests)
    assert "impersonate-user" not in own
    assert repair["impersonate-user"] == "system:serviceaccount:shop:repair"
    assert own["authorization"] == repair["authorization"] == "Bearer one"
    assert own["user-agent"].startswith("kubernaut/")


async def test_the_token_is_asked_for_once_in_a_while_and_a_new_one_is_used() -> None:
    settings, now = Settings(), [0.0]
    async with connected(lambda _: Reply(), settings=settings, monotonic=lambda: now[0]) as (
        wire,
        connection,
    ):
        for _ in range(20):
            await connection.own().get(POD)
        assert settings.asked == 1
        settings.token = "Bearer two"
        now[0] += 60
        await connection.own().get(POD)
    assert wire.requests[-1].headers["authorization"] == "Bearer two"


async def test_a_token_that_can_not_be_had_now_is_no_defect_but_something_to_wait_for() -> None:
    class Failing(Settings):
        async def get_api_key_with_prefix(self, _name: str) -> str | None:
            raise FileNotFoundError("/var/run/secrets/token")

    async with connected(lambda _: Reply(), settings=Failing()) as (wire, connection):
        with pytest.raises(Unavailable, match="FileNotFoundError: /var/run/secrets/token"):
            await connection.own().patch(POD, {}, resource_version="7")
        assert wire.requests == []


async def test_after_a_401_the_credentials_are_loaded_anew_and_the_request_is_sent_again() -> None:
    def script(request: Request) -> Reply:
        good = request.headers["authorization"] == "Bearer new"
        return Reply(200, {"metadata": {}}) if good else status(401, "Unauthorized")

    async def reload() -> object:
        return credentials(wire.host, Settings("Bearer new"))

    async with connected(script, reload=reload) as (wire, connection):
        await connection.own().patch(POD, {}, resource_version="7")
        assert len(wire.requests) == 2
        await connection.own().get(POD)
        assert len(wire.requests) == 3


async def test_credentials_that_stay_bad_are_told() -> None:
    async def reload() -> object:
        return credentials(wire.host)

    async with connected(lambda _: status(401, "Unauthorized"), reload=reload) as (wire, connection):
        for _ in range(3):
            with pytest.raises(Unavailable, match="credentials") as caught:
                await connection.own().get(POD)
            assert caught.value.status == 401
        assert not connection.breaker.is_open


async def test_while_the_server_is_away_one_request_a_second_is_sent() -> None:
    now = [0.0]
    breaker = Breaker("the API server", fail_max=5, monotonic=lambda: now[0])
    async with connected(lambda _: status(503, "ServiceUnavailable"), breaker=breaker) as (wire, connection):
        for _ in range(100):
            with pytest.raises(Unavailable):
                await connection.own().get(POD)
        assert len(wire.requests) == 5
        for _ in range(50):
            now[0] += 0.1
            with pytest.raises(Unavailable):
                await connection.own().get(POD)
        assert 9 <= len(wire.requests) <= 10
        wire.script = lambda _: Reply()
        now[0] += 1.1
        await connection.own().get(POD)
        assert not breaker.is_open


def ready_but(reply: Reply) -> Script:
    """A server that says it is ready and gives one answer to everything else."""
    return lambda request: Reply() if request.path == "/readyz" else reply


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (status(429, "TooManyRequests"), TooManyRequests),
        (status(404, "NotFound"), NotFound),
        (status(403, "Forbidden", 'User "u" cannot get resource "pods"'), Forbidden),
    ],
)
async def test_refusals_do_not_open_the_breaker(reply: Reply, kind: type[ClusterError]) -> None:
    script = ready_but(reply)
    async with connected(script, breaker=Breaker("x", fail_max=2)) as (wire, connection):
        for _ in range(6):
            with pytest.raises(kind):
                await connection.own().evict(POD, uid="u")
        # The first 403 is looked into: it is asked whether the server is ready, and then once more.
        assert len(wire.requests) == (8 if kind is Forbidden else 6)


@pytest.mark.parametrize("readyz", [403, 500])
async def test_a_refusal_of_a_starting_server_is_not_believed(readyz: int) -> None:
    ready = False

    def script(request: Request) -> Reply:
        if request.path == "/readyz":
            return Reply(200 if ready else readyz)
        return Reply() if ready else status(403, "Forbidden", 'User "u" cannot get resource "pods"')

    async with connected(script) as (wire, connection):
        with pytest.raises(Unavailable, match="is starting and does not know its roles yet"):
            await connection.own().get(POD)
        ready = True
        await connection.own().get(POD)
        wire.script = ready_but(status(403, "Forbidden", 'User "u" cannot get resource "pods"'))
        with pytest.raises(Forbidden):
            await connection.own().get(POD)


async def test_where_readiness_may_never_be_asked_a_refusal_is_believed_after_a_while() -> None:
    now = [100.0]
    refusal = status(403, "Forbidden", 'User "u" cannot get resource "pods"')
    async with connected(lambda _: refusal, monotonic=lambda: now[0]) as (_, connection):
        with pytest.raises(Unavailable):
            await connection.own().get(POD)
        now[0] += 31
        with pytest.raises(Forbidden):
            await connection.own().get(POD)


async def test_after_an_outage_a_refusal_is_looked_into_again() -> None:
    refusal = status(403, "Forbidden", 'User "u" cannot get resource "pods"')
    async with connected(ready_but(refusal)) as (wire, connection):
        for expected in (3, 1):
            before = len(wire.requests)
            with pytest.raises(Forbidden):
                await connection.own().get(POD)
            assert len(wire.requests) - before == expected
        wire.script = lambda _: Reset()
        with pytest.raises(Unavailable):
            await connection.own().get(POD)
        wire.script = ready_but(refusal)
        before = len(wire.requests)
        with pytest.raises(Forbidden):
            await connection.own().get(POD)
        assert len(wire.requests) - before == 3


async def test_a_request_that_was_given_up_says_nothing_of_the_server() -> None:
    async with connected(lambda _: Hang(), breaker=Breaker("x", fail_max=1)) as (wire, connection):
        task = asyncio.create_task(connection.own().get(POD))
        await wire.arrived(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.breaker.is_open


async def test_an_urgent_read_does_not_wait_for_the_pool() -> None:
    async with connected(lambda r: Hang() if "slow" in r.path else Reply(), pool=2) as (wire, connection):
        slow = ObjectRef("v1", "Pod", "shop", "slow")
        tasks = [asyncio.create_task(connection.own().get(slow)) for _ in range(5)]
        await wire.arrived(2)
        await connection.own().get(POD, urgent=True)
        assert len(wire.requests) == 3, "the pool held the rest back"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_pages_are_put_together_and_each_item_has_its_kind() -> None:
    def script(request: Request) -> Reply:
        last = "continue=two" in request.path
        items = [{"metadata": {"name": "b" if last else "a"}}]
        return Reply(200, {"metadata": {} if last else {"continue": "two"}, "items": items})

    async with connected(script) as (wire, connection):
        found = await connection.own().list("v1", "Pod", "shop", label_selector="a=b", limit=1)
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == [("Pod", "a"), ("Pod", "b")]
    assert all("labelSelector=a%3Db" in request.path for request in wire.requests)


async def test_a_list_whose_moment_is_forgotten_begins_again_and_a_paged_one_goes_on() -> None:
    expired = [status(410, "Expired", metadata={"continue": "later"})]

    def script(request: Request) -> Reply:
        if "continue=two" in request.path and expired:
            return expired.pop()
        last = "continue=" in request.path
        items = [{"metadata": {"name": "b" if last else "a"}}]
        return Reply(200, {"metadata": {} if last else {"continue": "two"}, "items": items})

    async with connected(script) as (_, connection):
        found = await connection.own().list("v1", "Pod", "shop")
        assert [one["metadata"]["name"] for one in found] == ["a", "b"]
        expired.append(status(410, "Expired", metadata={"continue": "later"}))
        pages = [page async for page in connection.own().list_pages("v1", "Pod")]
        assert [one["metadata"]["name"] for page in pages for one in page] == ["a", "b"]


async def test_an_api_that_has_no_kinds_has_not_this_one_either() -> None:
    async with connected(lambda _: Reply(200, {"resources": None})) as (_, connection):
        with pytest.raises(NotFound, match="has no kind Gear"):
            await connection.own().get(ObjectRef("shop.example/v1", "Gear", "shop", "g"))


async def test_an_unknown_kind_is_discovered_once() -> None:
    listed = {
        "resources": [
            {"name": "gears", "kind": "Gear", "namespaced": True},
            {"name": "gears/status", "kind": "Gear"},
        ]
    }

    def script(request: Request) -> Reply:
        if request.path == "/apis/shop.example/v1":
            return Reply(200, listed)
        return Reply(404, b"404 page not found") if "/apis/none" in request.path else Reply(200, {})

    async with connected(script) as (wire, connection):
        account = connection.as_account("shop", "repair")
        for _ in range(3):
            await account.get(ObjectRef("shop.example/v1", "Gear", "shop", "g"))
        assert [request.path for request in wire.requests] == [
            "/apis/shop.example/v1",
            *["/apis/shop.example/v1/namespaces/shop/gears/g"] * 3,
        ]
        assert "impersonate-user" not in wire.requests[0].headers
        with pytest.raises(NotFound, match="has no kind Wheel; it has Gear"):
            await account.get(ObjectRef("shop.example/v1", "Wheel", "shop", "w"))
        with pytest.raises(NotFound, match=r"no API none\.example/v1"):
            await account.get(ObjectRef("none.example/v1", "Wheel", "shop", "w"))


async def test_an_event_that_exists_already_is_fine() -> None:
    async with connected(lambda _: status(409, "AlreadyExists")) as (wire, connection):
        meta = {"name": "web.1", "namespace": "shop"}
        await connection.own().create_event({"apiVersion": "v1", "kind": "Event", "metadata": meta})
        assert len(wire.requests) == 1


async def test_logs_are_text_whatever_bytes_they_hold() -> None:
    async with connected(lambda _: Reply(200, b"ok \xff\n")) as (wire, connection):
        text = await connection.own().logs(POD, container="main", previous=True, tail_lines=5, limit_bytes=99)
    assert text == "ok �\n"
    assert wire.requests[0].path == (
        "/api/v1/namespaces/shop/pods/x/log?container=main&tailLines=5&limitBytes=99&previous=true"
    )


async def test_a_watch_that_falls_silent_is_begun_anew_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.05)

    def seen(version: str) -> dict[str, Any]:
        return {"metadata": {"name": POD.name, "uid": "u", "resourceVersion": version}}

    def script(request: Request) -> Reply:
        if "watch=1" not in request.path:
            return Reply(body={"metadata": {"resourceVersion": "5"}, "items": [seen("4")]})
        line = orjson.dumps({"type": "MODIFIED", "object": seen("6")}) + b"\n"
        return Reply(body=line, stalls=True)

    async with connected(script) as (wire, connection):
        states = connection.own().watch(POD)
        versions = [(await anext(states) or {})["metadata"]["resourceVersion"] for _ in range(2)]
        going_on = asyncio.ensure_future(anext(states))
        await wire.arrived(3)
        going_on.cancel()
        assert versions == ["4", "6"]
        assert [
            "resourceVersion=5" in wire.requests[1].path,
            "resourceVersion=6" in wire.requests[2].path,
        ] == [
            True,
            True,
        ]


async def test_a_watch_that_is_not_answered_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WATCH_ANSWER_SECONDS", 0.05)

    def script(request: Request) -> Reply | Hang:
        if "watch=1" not in request.path:
            return Reply(body={"metadata": {"resourceVersion": "5"}, "items": []})
        return Hang()

    async with connected(script) as (wire, connection):
        states = connection.own().watch(POD)
        assert await anext(states) is None
        going_on = asyncio.ensure_future(anext(states))
        await wire.arrived(3)
        going_on.cancel()
        assert all("watch=1&" in request.path for request in wire.requests[1:])


async def test_no_kubeconfig_and_a_broken_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"there is no kubeconfig at .*make cluster"):
        await ApiConnection.load(tmp_path / "none")
    broken = tmp_path / "broken"
    broken.write_text("contexts: [}")
    with pytest.raises(Unavailable, match="can't be used"):
        await ApiConnection.load(broken)


async def test_an_answer_that_is_no_json_is_no_answer() -> None:
    async with connected(lambda _: Reply(200, b"<html>log in</html>")) as (_, connection):
        with pytest.raises(Unavailable):
            await connection.own().get(POD)
        with pytest.raises(UnknownOutcome):
            await connection.own().patch(POD, {}, resource_version="7")


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: there
contexts:
- {name: there, context: {cluster: c, user: u, namespace: shop}}
- {name: other, context: {cluster: c, user: u}}
clusters: [{name: c, cluster: {server: "http://api.example:8080/below/"}}]
users: [{name: u, user: {token: secret}}]
"""


async def test_context_namespace_token_and_proxy_are_taken_as_kubectl_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    found = await load_credentials()
    assert (found.host, found.namespace) == ("http://api.example:8080/below", "shop")
    assert await found.authorization() == "Bearer secret"
    assert found.proxy == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "api.example")
    other = await load_credentials(path, "other")
    assert (other.namespace, other.proxy) == ("default", None)
    with pytest.raises(Unavailable, match="nowhere"):
        await load_credentials(path, "nowhere")


@pytest.mark.parametrize(
    ("no_proxy", "spared"),
    [
        (".svc, 10.96.0.0/12 ,x/y", True),
        ("10.96.0.1", True),
        ("10.112.0.0/12,fd00::/8", False),
        ("10.96.0.0/33", False),
        ("", False),
    ],
)
async def test_an_api_server_in_a_network_of_no_proxy_is_asked_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str, spared: bool
) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG.replace("api.example", "10.96.0.1"))
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    found = await load_credentials(path)
    assert found.proxy == (None if spared else "http://proxy.example:3128")
