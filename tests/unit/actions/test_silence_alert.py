"""silence_alert, against an Alertmanager that keeps its silences in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from kubernaut.actions.outside.silence_alert import SilenceAlert, SilenceAlertParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError, Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, HttpRequest
from unit.actions.builders import context
from unit.actions.fake import FakeCluster
from unit.actions.web import answer

silence_alert = SilenceAlert()
LOOPING = {"name": "alertname", "value": "KubePodCrashLooping"}


@dataclass
class Alertmanager:
    """Its API v2 as far as silences go."""

    alertmanager: str = "http://alertmanager:9093/prefix/"
    silences: list[dict[str, Any]] = field(default_factory=list)
    sent: list[HttpRequest] = field(default_factory=list)
    troubles: list[Any] = field(default_factory=list)

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.sent.append(request)
        trouble = self.troubles.pop(0) if self.troubles else None
        if isinstance(trouble, HttpAnswer):
            return trouble
        if trouble == "lost before":
            raise UnknownOutcome("lost")
        found = self._answer(request)
        if trouble == "lost after":
            raise UnknownOutcome("lost")
        return found

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        parts = urlsplit(request.url)
        if request.method == "GET":
            wanted = set(parse_qs(parts.query)["filter"])
            return answer([one for one in self.silences if wanted <= _texts(one)])
        if request.method == "POST":
            silence = f"id-{len(self.silences) + 1}"
            status = {"state": "active"}
            self.silences.append({"id": silence, "status": status, **json.loads(request.body)})
            return answer({"silenceID": silence})
        name = parts.path.rpartition("/")[2]
        one = next(one for one in self.silences if one["id"] == name)
        if one["status"]["state"] == "expired":
            return HttpAnswer(500)
        one["status"] = {"state": "expired"}
        return HttpAnswer(200)

    def changes(self) -> list[str]:
        return [one.method for one in self.sent if one.method != "GET"]


def _texts(silence: dict[str, Any]) -> set[str]:
    return {f"{one['name']}={json.dumps(one['value'])}" for one in silence["matchers"]}


def wanted(*matchers: dict[str, Any], **more: Any) -> SilenceAlertParameters:
    return SilenceAlertParameters.model_validate({"matchers": list(matchers) or [LOOPING], **more})


async def place(alertmanager: Any, parameters: SilenceAlertParameters, **of_run: Any) -> StepContext:
    intent = await silence_alert.prepare(FakeCluster(), context(**of_run), parameters)
    return replace(context(intent=intent, **of_run), web=alertmanager)


async def test_a_silence_is_made_once_and_ended_once() -> None:
    web, parameters = Alertmanager(), wanted(duration="30m", comment="being repaired")
    here = await place(web, parameters)
    first = await silence_alert.perform(FakeCluster(), here, parameters)
    again = await silence_alert.perform(FakeCluster(), here, parameters)
    assert first.acted
    assert first.outputs == again.outputs == {"silence": "id-1", "endsAt": "2026-03-01T12:30:00Z"}
    (made,) = web.silences
    assert (made["startsAt"], made["endsAt"], made["createdBy"]) == (
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:30:00Z",
        "kubernaut",
    )
    assert made["comment"].startswith("being repaired step repair of run shop/run-1 (")
    assert made["matchers"] == [
        {**LOOPING, "isRegex": False, "isEqual": True},
        {"name": "namespace", "value": "shop", "isRegex": False, "isEqual": True},
    ]
    assert (await silence_alert.undo(FakeCluster(), here, parameters)).acted
    assert (await silence_alert.undo(FakeCluster(), here, parameters)).acted
    assert web.silences[0]["status"] == {"state": "expired"}
    assert web.changes() == ["POST", "DELETE"]
    assert web.sent[0].url.startswith("http://alertmanager:9093/prefix/api/v2/silences?filter=")


@pytest.mark.parametrize("trouble", ["lost before", "lost after"])
async def test_after_a_lost_answer_it_is_looked_for_and_made_only_where_it_is_not(trouble: str) -> None:
    web, parameters = Alertmanager(troubles=[None, trouble]), wanted()
    here = await place(web, parameters)
    assert (here.intent or {})["repeatable"] is True
    with pytest.raises(UnknownOutcome):
        await silence_alert.perform(FakeCluster(), here, parameters)
    assert (await silence_alert.perform(FakeCluster(), here, parameters)).acted
    assert len(web.silences) == 1


async def test_undo_ends_both_where_a_late_request_made_a_second() -> None:
    web, parameters = Alertmanager(), wanted()
    here = await place(web, parameters)
    await silence_alert.perform(FakeCluster(), here, parameters)
    web.silences.append({**web.silences[0], "id": "id-2", "status": {"state": "active"}})
    await silence_alert.undo(FakeCluster(), here, parameters)
    assert [one["status"]["state"] for one in web.silences] == ["expired", "expired"]


async def test_silences_of_others_and_of_other_steps_are_left_alone() -> None:
    web, parameters = Alertmanager(), wanted()
    mine, other = await place(web, parameters), await place(web, parameters, run="run-2")
    await silence_alert.perform(FakeCluster(), other, parameters)
    web.silences.append({**web.silences[0], "id": "person", "createdBy": "ada"})
    await silence_alert.perform(FakeCluster(), mine, parameters)
    await silence_alert.undo(FakeCluster(), mine, parameters)
    states = {one["id"]: one["status"]["state"] for one in web.silences}
    assert states == {"id-1": "active", "person": "active", "id-3": "expired"}


async def test_a_silence_that_somebody_ended_is_not_made_again() -> None:
    web, parameters = Alertmanager(), wanted()
    here = await place(web, parameters)
    await silence_alert.perform(FakeCluster(), here, parameters)
    web.silences[0]["status"] = {"state": "expired"}
    await silence_alert.perform(FakeCluster(), here, parameters)
    assert web.changes() == ["POST"]


async def test_for_all_namespaces_it_asks_for_leave_with_every_request() -> None:
    web, parameters = Alertmanager(), wanted(everyNamespace=True)
    await silence_alert.perform(FakeCluster(), await place(web, parameters), parameters)
    assert [one.beyond for one in web.sent] == [True, True]
    assert [one["name"] for one in web.silences[0]["matchers"]] == ["alertname"]


async def test_without_an_alertmanager_it_says_how_to_name_one() -> None:
    web, parameters = Alertmanager(alertmanager=""), wanted()
    with pytest.raises(StepError, match="KUBERNAUT_ALERTMANAGER_URL") as caught:
        await silence_alert.perform(FakeCluster(), await place(web, parameters), parameters)
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_the_url_of_the_step_counts_before_that_of_the_settings() -> None:
    web, parameters = Alertmanager(), wanted(url="https://other.example.com")
    await silence_alert.perform(FakeCluster(), await place(web, parameters), parameters)
    assert web.sent[0].url.startswith("https://other.example.com/api/v2/silences")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (HttpAnswer(400), Reason.UNEXPECTED_ANSWER),
        (HttpAnswer(200, b"<html>"), Reason.UNEXPECTED_ANSWER),
        (HttpAnswer(200, b"[", whole=False), Reason.UNEXPECTED_ANSWER),
        (HttpAnswer(503), Reason.UNAVAILABLE),
    ],
)
async def test_an_answer_that_is_none_is_told_as_what_it_is(reply: HttpAnswer, reason: Reason) -> None:
    web, parameters = Alertmanager(troubles=[reply]), wanted()
    with pytest.raises(StepError) as caught:
        await silence_alert.perform(FakeCluster(), await place(web, parameters), parameters)
    assert caught.value.reason is reason
    assert isinstance(caught.value, Unavailable) is (reason is Reason.UNAVAILABLE)


async def test_a_dry_run_looks_and_makes_none() -> None:
    web, parameters = Alertmanager(troubles=[None, HttpAnswer(0)]), wanted()
    done = await silence_alert.perform(FakeCluster(), await place(web, parameters), parameters)
    assert done.changed == ("a silence would be made",)
    assert web.silences == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"matchers": []}, "at least 1 item"),
        ({"matchers": [{**LOOPING, "isRegex": True}]}, "at least one has to name"),
        ({"matchers": [{**LOOPING, "isEqual": False}]}, "at least one has to name"),
        ({"matchers": [{"name": "alertname", "value": ""}]}, "at least 1 character"),
        ({"matchers": [{"name": "a-b", "value": "c"}]}, "pattern"),
        ({"matchers": [LOOPING, {"name": "namespace", "value": "other"}]}, "the run's own"),
        ({"matchers": [LOOPING], "duration": "25h"}, "from 1m to 24h"),
        ({"matchers": [LOOPING], "duration": "1s"}, "from 1m to 24h"),
        ({"matchers": [LOOPING], "url": "alertmanager:9093"}, "needs http or https"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SilenceAlertParameters.model_validate(given)
