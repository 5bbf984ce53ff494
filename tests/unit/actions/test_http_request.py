"""http_request: what is sent, what is told of it, and what is not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.outside.http_request import HttpRequestParameters, SendHttpRequest
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import EffectFailed, StepError, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, Manifest, Right
from unit.actions.builders import context, deployment
from unit.actions.fake import FakeCluster
from unit.actions.web import FakeWeb, answer

http_request = SendHttpRequest()
KEY = {"name": "hooks", "key": "token"}
URL = "https://hooks.example.com/services/T0/B0/s3cr3t?room=7"
WITH_TOKEN = f"{URL}&token=hunter2"


def wanted(**given: Any) -> HttpRequestParameters:
    where = {} if "urlFrom" in given else {"url": URL}
    return HttpRequestParameters.model_validate({**where, **given})


def secret(**data: str) -> Manifest:
    coded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hooks"}, "data": coded}


async def place(web: FakeWeb, parameters: HttpRequestParameters) -> StepContext:
    """Return the step's context as it is once its intent is stored."""
    intent = await http_request.prepare(FakeCluster(), context(), parameters)
    return replace(context(intent=intent), web=web)


async def sent(web: FakeWeb, parameters: HttpRequestParameters, cluster: FakeCluster | None = None) -> Done:
    return await http_request.perform(cluster or FakeCluster(), await place(web, parameters), parameters)


async def test_a_request_is_sent_as_it_was_asked_for_and_its_status_told() -> None:
    web = FakeWeb([answer({"result": {"id": 7}}, 202)])
    done = await sent(
        web, wanted(method="PUT", headers={"X-Team": "a"}, body={"a": 1}, extract={"id": "result.id"})
    )
    (request,) = web.sent
    assert (request.method, request.url, request.body, request.reads) == ("PUT", URL, b'{"a": 1}', False)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Team"] == "a"
    assert done.acted
    assert done.outputs == {"status": 202, "values": {"id": 7}}
    assert done.changed == ("PUT to hooks.example.com: answered with status 202",)


async def test_a_text_is_sent_as_it_is() -> None:
    web = FakeWeb()
    await sent(web, wanted(body="a=1", headers={"Content-Type": "text/plain"}))
    assert (web.sent[0].body, web.sent[0].headers["Content-Type"]) == (b"a=1", "text/plain")


async def test_a_content_type_that_is_given_is_the_one_that_is_sent() -> None:
    web = FakeWeb()
    await sent(web, wanted(body={}, headers={"content-type": "application/merge-patch+json"}))
    kinds = [text for name, text in web.sent[0].headers.items() if name.lower() == "content-type"]
    assert kinds == ["application/merge-patch+json"]


async def test_the_key_is_the_same_for_an_attempt_and_another_for_each_other_one() -> None:
    keys = []
    for run, step, attempt in (("r", "a", 1), ("r", "a", 1), ("r", "a", 2), ("r", "b", 1), ("s", "a", 1)):
        here = replace(context(run=run, step=step), attempt=attempt)
        intent = await http_request.prepare(FakeCluster(), here, wanted())
        web = FakeWeb()
        await http_request.perform(FakeCluster(), replace(here, intent=intent, web=web), wanted())
        keys.append(web.sent[0].headers["Idempotency-Key"])
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("how", "reason"), [("deleted", Reason.TARGET_NOT_FOUND), ("replaced", Reason.TARGET_REPLACED)]
)
async def test_nothing_is_sent_about_a_target_that_is_gone_where_that_is_said(
    how: str, reason: Reason
) -> None:
    """By default it is sent: it may tell somebody just that."""
    cluster = FakeCluster()
    if how == "replaced":
        anew = deployment()
        cluster.add({**anew, "metadata": {**anew["metadata"], "uid": "another"}})
    with pytest.raises(StepError, match="nothing was sent; set whenTargetGone: Act") as caught:
        await http_request.prepare(cluster, context(), wanted(whenTargetGone="Refuse"))
    assert caught.value.reason is reason
    assert await http_request.prepare(cluster, context(), wanted())
    assert await http_request.prepare(
        FakeCluster().add(deployment()), context(), wanted(whenTargetGone="Refuse")
    )


def test_the_target_is_read_only_where_it_has_to_be_there() -> None:
    reads = Right("get", "apps", "deployments", ("api",))
    assert reads in http_request.rights(context().target, wanted(whenTargetGone="Refuse"))
    assert reads not in http_request.rights(context().target, wanted())


async def test_a_secret_that_the_answer_repeats_is_no_output() -> None:
    """Servers that help to debug repeat headers and body; under which name, nobody knows."""
    cluster = FakeCluster().add(secret(token="hunter2", url=WITH_TOKEN))
    said = {
        "a": "Bearer hunter2",
        "b": {"x": ["hunter2"]},
        "c": 7,
        "d": f"got {WITH_TOKEN}",
        "e": {"hunter2": 1},
    }
    extract = {name: name for name in said}
    for given in (
        {"headersFrom": [{"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": KEY}]},
        {"body": {}, "bodyFrom": [{"path": "key", "secretKeyRef": KEY}]},
        {"urlFrom": {**KEY, "key": "url"}},
    ):
        done = await sent(FakeWeb([answer(said)]), wanted(extract=extract, **given), cluster)
        values = done.outputs["values"]
        assert isinstance(values, dict)
        assert values["c"] == 7
        hidden = WITH_TOKEN if "urlFrom" in given else "hunter2"
        assert hidden not in json.dumps(values)


async def test_only_what_reads_may_be_repeated_by_itself() -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        intent = await http_request.prepare(FakeCluster(), context(), wanted(method=method))
        assert intent is not None
        assert intent["repeatable"] is (method in ("GET", "HEAD"))


async def test_a_read_changed_nothing() -> None:
    done = await sent(FakeWeb([answer({})]), wanted(method="GET"))
    assert (done.acted, done.changed) == (False, ())


async def test_secrets_come_from_where_they_are_and_are_told_nowhere() -> None:
    cluster = FakeCluster().add(secret(token="hunter2\n", url=WITH_TOKEN))
    headers = [
        {"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": {"name": "hooks", "key": "token"}}
    ]
    parameters = wanted(
        urlFrom={"name": "hooks", "key": "url"},
        headersFrom=headers,
        body={"text": "hello"},
        bodyFrom=[{"path": "auth.routing_key", "secretKeyRef": {"name": "hooks", "key": "token"}}],
    )
    web = FakeWeb([answer({"echo": "hunter2"}), answer({"echo": "hunter2"}, 500)])
    done = await sent(web, parameters, cluster)
    assert (web.sent[0].url, web.sent[0].headers["Authorization"]) == (WITH_TOKEN, "Bearer hunter2")
    assert json.loads(web.sent[0].body) == {"text": "hello", "auth": {"routing_key": "hunter2"}}
    with pytest.raises(EffectFailed) as caught:
        await sent(web, parameters, cluster)
    intent = await http_request.prepare(cluster, context(), parameters)
    told = json.dumps(
        [done.message, *done.changed, dict(done.outputs), str(caught.value), caught.value.outputs]
    )
    told += json.dumps(dict(intent or {}))
    for canary in ("hunter2", "s3cr3t", "services"):
        assert canary not in told
    assert http_request.rights(None, parameters) == (Right("get", "", "secrets", ("hooks",)),)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"other": "x"}, "has no key token; it has: other"),
        ({"token": "two\nlines"}, "is not one line of ASCII"),
    ],
)
async def test_a_secret_that_does_not_fit_stops_it_without_telling_it(data: Any, told: str) -> None:
    cluster = FakeCluster().add(secret(**data))
    headers = [{"name": "X-Key", "secretKeyRef": {"name": "hooks", "key": "token"}}]
    web = FakeWeb()
    with pytest.raises(StepError, match=told) as caught:
        await sent(web, wanted(headersFrom=headers), cluster)
    assert "two" not in str(caught.value)
    assert web.sent == []


async def test_a_secret_that_has_no_place_in_the_body_stops_it() -> None:
    web = FakeWeb()
    field = {"path": "text.inner", "secretKeyRef": KEY}
    with pytest.raises(StepError, match="goes through a field"):
        await sent(
            web, wanted(body={"text": "hello"}, bodyFrom=[field]), FakeCluster().add(secret(token="x"))
        )
    assert web.sent == []


async def test_a_url_from_a_secret_is_checked_as_any_other() -> None:
    cluster = FakeCluster().add(secret(url="file:///etc/passwd"))
    with pytest.raises(StepError, match="needs http or https") as caught:
        await sent(FakeWeb(), wanted(urlFrom={"name": "hooks", "key": "url"}), cluster)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "expected", "good"), [(204, [], True), (404, [404], True), (200, [201], False)]
)
async def test_the_status_decides(status: int, expected: list[int], good: bool) -> None:
    web = FakeWeb([HttpAnswer(status)])
    if good:
        assert (await sent(web, wanted(expectStatus=expected))).outputs["status"] == status
        return
    with pytest.raises(EffectFailed, match="status 200") as caught:
        await sent(web, wanted(expectStatus=expected))
    assert caught.value.reason is Reason.UNEXPECTED_ANSWER
    assert caught.value.outputs["status"] == status


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (answer({"a": {"b": [1]}}), [1]),
        (answer({"a": {}}), None),
        (answer([1]), None),
        (HttpAnswer(200, b"<html>"), None),
        (HttpAnswer(200, b'{"a": {"b": 1}}', whole=False), None),
        (answer({"a": {"b": "x" * 2000}}), None),
        (answer({"a": {"b": {"password": "x"}}}), None),
        (answer({"a": {"b": [{"authToken": "x"}]}}), None),
        (HttpAnswer(200, b'{"a": {"b": ' + b"[" * 300 + b"]" * 300 + b"}}"), None),
        (HttpAnswer(200, b'{"a": {"b": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}"), None),
    ],
    ids=range(10),
)
async def test_what_can_not_be_had_or_must_not_be_told_of_the_answer_is_null(
    reply: HttpAnswer, value: Any
) -> None:
    done = await sent(FakeWeb([reply]), wanted(extract={"it": "a.b"}))
    assert done.outputs["values"] == {"it": value}


async def test_a_lost_answer_is_an_unknown_outcome_and_sent_but_once() -> None:
    web = FakeWeb([UnknownOutcome("no whole answer")])
    with pytest.raises(UnknownOutcome):
        await sent(web, wanted())
    assert len(web.sent) == 1


async def test_of_a_dry_run_it_is_told_what_would_be_sent() -> None:
    done = await sent(FakeWeb([HttpAnswer(0)]), wanted())
    assert done.changed == ("POST to hooks.example.com: would be sent",)


async def test_undo_says_that_it_can_not_be_taken_back() -> None:
    done = await http_request.undo(FakeCluster(), context(), wanted())
    assert (done.acted, "can't be taken back" in done.message) == (False, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"url": "ftp://example.com"}, "needs http or https"),
        ({"url": "https://"}, "needs http or https"),
        ({"url": "https://me:pw@example.com"}, "a user or a password"),
        ({"url": "https://example.com/a b"}, "percent-encoded"),
        ({"url": "https://example.com\\@evil.example"}, "percent-encoded"),
        ({"url": "https://example.com:99999/"}, "can't be read"),
        ({"url": URL, "urlFrom": {"name": "a", "key": "b"}}, "exactly one of url and urlFrom"),
        ({}, "exactly one of url and urlFrom"),
        ({"url": URL, "headers": {"Authorization": "Bearer x"}}, "under headersFrom"),
        ({"url": URL, "headers": {"X-Api-Key": "x"}}, "under headersFrom"),
        ({"url": URL, "headers": {"Host": "x"}}, "not a step's to set"),
        ({"url": URL, "headers": {"Idempotency-Key": "x"}}, "not a step's to set"),
        ({"url": URL, "headers": {"A": "b\r\nC: d"}}, "one line of ASCII"),
        ({"url": URL, "headers": {"A b": "c"}}, "pattern"),
        ({"url": URL, "headers": {"A": "b", "a": "c"}}, "name one twice"),
        ({"url": URL, "method": "GET", "body": "x"}, "has none"),
        ({"url": WITH_TOKEN}, "under urlFrom"),
        ({"url": URL, "body": {"a": [{"apiToken": "x"}]}}, "under bodyFrom"),
        ({"url": URL, "body": "x", "bodyFrom": [{"path": "a", "secretKeyRef": KEY}]}, "into a map alone"),
        ({"url": URL, "method": "GET", "bodyFrom": [{"path": "a", "secretKeyRef": KEY}]}, "has none"),
        ({"url": URL, "bodyFrom": [{"path": "a..b", "secretKeyRef": KEY}]}, "a field name is needed"),
        ({"url": URL, "method": "CONNECT"}, "GET"),
        ({"url": URL, "body": "x" * 40_000}, "at most 32768"),
        ({"url": URL, "requestTimeout": "2m"}, "from 100ms to 60s"),
        ({"url": URL, "extract": {"it": "access_token"}}, "may be a secret"),
        ({"url": URL, "expectStatus": [100]}, "200"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        HttpRequestParameters.model_validate(given)
