"""Autoscalers are listed once for all that happens within seconds, as whoever asks may see them."""

from __future__ import annotations

import asyncio

import pytest

from kubernaut.core.errors import Unavailable
from kubernaut.engine.autoscalers import FRESH_SECONDS, MOST, Autoscalers
from unit.actions.fake import FakeCluster

SHOP = "shop/kubernaut-repair"
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
GROWS = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "grows", "namespace": "shop", "annotations": {"long": "x" * 1000}},
    "spec": {"scaleTargetRef": WEB, "maxReplicas": 9, "metrics": [{"type": "Resource"}]},
}


class Listing:
    """Autoscalers over a cluster, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.cluster = FakeCluster().add(GROWS)
        self.now = 100.0
        self.autoscalers = Autoscalers(lambda: self.now)

    async def names(self, account: str = SHOP, namespace: str = "shop") -> list[str] | None:
        found = await self.autoscalers.beside(self.cluster, account, namespace)
        return None if found is None else [one["metadata"]["name"] for one in found]

    def asked(self) -> int:
        return len([one for one in self.cluster.requests if "HorizontalPodAutoscaler" in one])


async def test_they_are_listed_once_for_all_that_ask_within_seconds() -> None:
    listing = Listing()
    assert await asyncio.gather(*(listing.names() for _ in range(100))) == [["grows"]] * 100
    listing.now += FRESH_SECONDS - 0.1
    assert await listing.names() == ["grows"]
    assert listing.asked() == 1
    listing.now += 0.2
    listing.cluster.add({**GROWS, "metadata": {"name": "newer"}})
    assert await listing.names() == ["grows", "newer"]
    assert listing.asked() == 2


async def test_no_account_is_shown_what_another_one_may_list() -> None:
    listing = Listing()
    assert await listing.names() == ["grows"]
    listing.cluster.forbidden.add("list HorizontalPodAutoscaler")
    assert await listing.names("shop/other") is None
    assert await listing.names() == ["grows"]
    assert await listing.names(namespace="elsewhere") is None


async def test_what_could_not_be_listed_is_asked_for_again() -> None:
    listing = Listing()
    listing.cluster.troubles["list"] = [Unavailable("gone", status=503)]
    with pytest.raises(Unavailable):
        await listing.names()
    assert await listing.names() == ["grows"]


async def test_only_what_they_scale_is_remembered_and_of_so_many_places() -> None:
    listing = Listing()
    (found,) = await listing.autoscalers.beside(listing.cluster, SHOP, "shop") or ()
    assert found == {"metadata": {"name": "grows"}, "spec": {"scaleTargetRef": WEB}}
    for number in range(MOST):
        await listing.names(f"shop/{number}")
    asked = listing.asked()
    await listing.names(f"shop/{MOST - 1}")
    assert listing.asked() == asked
    await listing.names()
    assert listing.asked() == asked + 1
