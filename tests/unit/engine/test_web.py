"""What actions send to others than the API server passes the same gate as what they send there."""

from __future__ import annotations

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import HttpRequest
from kubernaut.core.run import Hold
from kubernaut.engine.gated import GatedWeb
from unit.actions.web import FakeWeb

STOPPED = Hold(Reason.STOPPED, "stopped by ada")
POST = HttpRequest("POST", "https://example.com", {})
GET = HttpRequest("GET", "https://example.com", {}, reads=True)
FAR = HttpRequest("POST", "https://example.com", {}, beyond=True)


async def refused(namespace: str, what: str) -> None:
    raise StepError(f"{what} is beyond {namespace}", reason=Reason.BEYOND_NAMESPACE)


def gated(web: FakeWeb, hold: Hold | None = None, *, dry: bool = False) -> GatedWeb:
    return GatedWeb(web, lambda: hold, "shop", refused, dry=dry)


async def test_while_acting_is_stopped_nothing_is_sent() -> None:
    web = FakeWeb()
    with pytest.raises(StepError, match="was not sent: stopped by ada") as caught:
        await gated(web, STOPPED).send(POST)
    assert (caught.value.reason, web.sent) == (Reason.STOPPED, [])


async def test_a_dry_run_sends_what_reads_alone() -> None:
    web = FakeWeb()
    assert (await gated(web, STOPPED, dry=True).send(POST)).status == 0
    assert (await gated(web, STOPPED, dry=True).send(GET)).status == 200
    assert web.sent == [GET]


async def test_what_concerns_more_than_the_namespace_needs_leave() -> None:
    web = FakeWeb()
    with pytest.raises(StepError, match="is beyond shop"):
        await gated(web).send(FAR)
    assert web.sent == []
    assert (await gated(web).send(POST)).status == 200


async def test_the_alertmanager_of_the_settings_is_known() -> None:
    assert gated(FakeWeb(alertmanager="http://am:9093")).alertmanager == "http://am:9093"
