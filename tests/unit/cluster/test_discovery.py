"""A kind that a cluster has under another path than before is found again, at the cost of one request."""

from __future__ import annotations

from typing import Any, Final

import pytest

from kubernaut.core.errors import NoSuchKind, NotFound
from kubernaut.core.ports import ObjectRef
from unit.cluster.wire import Reply, Request, connected, status

NO_PATH: Final = "the server could not find the requested resource"


@pytest.mark.parametrize("refusal", [Reply(404, b"404 page not found"), status(404, "NotFound", NO_PATH)])
async def test_a_kind_that_was_made_anew_under_another_path_is_discovered_again(refusal: Reply) -> None:
    gear: dict[str, Any] = {"name": "gears", "kind": "Gear", "namespaced": True}

    def script(request: Request) -> Reply:
        if request.path == "/apis/shop.example/v1":
            return Reply(200, {"resources": [gear]})
        served = "/namespaces/" in request.path if gear["namespaced"] else "/namespaces/" not in request.path
        return Reply(200, {}) if served and f"/{gear['name']}/" in request.path else refusal

    async with connected(script) as (wire, connection):
        account, ref = (
            connection.as_account("shop", "repair"),
            ObjectRef("shop.example/v1", "Gear", "shop", "g"),
        )
        await account.get(ref)
        gear["name"] = "gearwheels"
        await account.get(ref)
        gear["namespaced"] = False
        # Whether a run may act beyond its namespace was decided for a kind that had one: it is decided anew.
        with pytest.raises(NoSuchKind):
            await account.get(ref)
        await account.get(ref)
        assert [request.path.removeprefix("/apis/shop.example/v1") for request in wire.requests] == [
            "",
            "/namespaces/shop/gears/g",
            "/namespaces/shop/gears/g",
            "",
            "/namespaces/shop/gearwheels/g",
            "/namespaces/shop/gearwheels/g",
            "",
            "/gearwheels/g",
        ]


async def test_a_kind_that_is_not_served_is_asked_about_once_for_each_read_and_an_object_that_is_gone_is_not() -> (
    None
):
    answers = {
        "gears/g": Reply(404, b"404 page not found"),
        "gears/h": status(404, "NotFound", '"h" not found'),
    }

    def script(request: Request) -> Reply:
        listed = {"resources": [{"name": "gears", "kind": "Gear", "namespaced": True}]}
        return next((one for end, one in answers.items() if request.path.endswith(end)), Reply(200, listed))

    async with connected(script) as (wire, connection):
        own = connection.own()
        with pytest.raises(NoSuchKind):
            await own.get(ObjectRef("shop.example/v1", "Gear", "shop", "g"))
        assert len(wire.requests) == 3
        for _ in range(2):
            with pytest.raises(NotFound, match="does not exist"):
                await own.get(ObjectRef("shop.example/v1", "Gear", "shop", "h"))
        assert len(wire.requests) == 5
