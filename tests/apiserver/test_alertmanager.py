"""silence_alert, and the configuration that docs show, against a real Alertmanager: Debian's, unpacked only."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubernaut.actions.outside.silence_alert import SilenceAlert, SilenceAlertParameters
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, HttpRequest
from kubernaut.outside.client import HttpClient
from kubernaut.outside.hosts import Hosts
from monitoring import LocalAlertmanager, amtool
from unit.actions.builders import context
from unit.actions.fake import FakeCluster

silence_alert = SilenceAlert()
PARAMETERS = SilenceAlertParameters.model_validate(
    {"matchers": [{"name": "alertname", "value": 'Looping "x"'}], "duration": "5m", "comment": "mended"}
)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    alertmanager = LocalAlertmanager(tmp_path)
    alertmanager.run()
    try:
        yield alertmanager.url
    finally:
        alertmanager.stop()


class Outside:
    """The way out, with leave to reach this machine; can lose the answer to what it sent."""

    def __init__(self, url: str) -> None:
        self.alertmanager = url
        self.loses = False
        self._client = HttpClient(Hosts.parse("127.0.0.1"), "https://127.0.0.1:1")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        answer = await self._client.send(request)
        if self.loses and request.method == "POST":
            self.loses = False
            raise UnknownOutcome("the answer was lost")
        return answer

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        data = orjson.dumps(body) if body is not None else b""
        answer = await self._client.send(
            HttpRequest(method, self.alertmanager + path, headers, data, reads=True)
        )
        assert answer.status == 200, answer
        return orjson.loads(answer.body) if answer.body else None

    async def silenced(self) -> dict[str, bool]:
        """Return of each namespace's alert whether it is silenced."""
        alerts = await self.ask("GET", "/api/v2/alerts")
        return {one["labels"]["namespace"]: bool(one["status"]["silencedBy"]) for one in alerts}


async def firing(url: str) -> tuple[Outside, StepContext]:
    """An Alertmanager with an alert in each of two namespaces, and the context of a step of one of them."""
    outside, deadline = Outside(url), time.monotonic() + 60
    while True:
        try:
            await outside.ask("GET", "/api/v2/status")
            break
        except Unavailable:
            assert time.monotonic() < deadline, "Alertmanager did not start"
            await asyncio.sleep(0.1)
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    labels = [{"alertname": 'Looping "x"', "namespace": one} for one in ("shop", "other")]
    await outside.ask("POST", "/api/v2/alerts", [{"labels": one, "endsAt": ends} for one in labels])
    here = replace(context(), now=datetime.now(UTC), web=outside)
    intent = await silence_alert.prepare(FakeCluster(), here, PARAMETERS)
    return outside, replace(here, intent=intent)


async def becomes(outside: Outside, wanted: dict[str, bool]) -> None:
    deadline = time.monotonic() + 30
    while await outside.silenced() != wanted:
        assert time.monotonic() < deadline, await outside.silenced()
        await asyncio.sleep(0.1)


async def test_the_alert_of_the_namespace_is_silenced_once_and_fires_again_after_undo(url: str) -> None:
    outside, here = await firing(url)
    await becomes(outside, {"shop": False, "other": False})
    first = await silence_alert.perform(FakeCluster(), here, PARAMETERS)
    again = await silence_alert.perform(FakeCluster(), here, PARAMETERS)
    assert first.outputs == again.outputs
    await becomes(outside, {"shop": True, "other": False})
    assert len(await outside.ask("GET", "/api/v2/silences")) == 1
    assert (await silence_alert.undo(FakeCluster(), here, PARAMETERS)).acted
    await becomes(outside, {"shop": False, "other": False})
    assert (await silence_alert.undo(FakeCluster(), here, PARAMETERS)).acted


async def test_a_silence_whose_answer_was_lost_is_found_again(url: str) -> None:
    outside, here = await firing(url)
    outside.loses = True
    with pytest.raises(UnknownOutcome):
        await silence_alert.perform(FakeCluster(), here, PARAMETERS)
    assert (await silence_alert.perform(FakeCluster(), here, PARAMETERS)).acted
    assert len(await outside.ask("GET", "/api/v2/silences")) == 1


def test_the_configuration_that_is_shown_tells_us_and_whoever_was_told_before(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
    (shown,) = re.findall(r"^```yaml\n(route:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "alertmanager.yml"
    path.write_text(shown)
    amtool("check-config", str(path))

    def told(*labels: str) -> str:
        said = amtool("config", "routes", "test", f"--config.file={path}", *labels)
        return said.partition("Warning")[0].strip()

    assert told("alertname=KubePodNotReady", "namespace=shop") == "kubernaut,default"
    assert told("alertname=Watchdog") == "default"
