"""A change that is proposed: a manifest that server-side apply takes, without secrets, told once to a webhook."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import Unavailable
from kubernaut.core.fields import FieldChange, parse
from kubernaut.core.ports import HttpAnswer, HttpRequest
from kubernaut.engine.posting import host_of
from kubernaut.engine.proposing import Webhook, proposal
from unit.core.gitops_objects import deployment
from unit.engine.test_owning import replicas, run, tracked
from unit.engine.world import World, scale

SEEN = deployment()


def change(path: str, before: Any, after: Any) -> FieldChange:
    return FieldChange(parse(path), before, after)


def test_the_manifest_holds_just_the_changed_fields_and_names_list_elements() -> None:
    changes = [
        change("spec.replicas", 3, 5),
        change("spec.template.spec.containers[name=app].image", "a:1", "a:2"),
    ]
    assert yaml.safe_load(proposal(SEEN, changes)) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "app", "image": "a:2"}]}}},
    }


def test_what_is_or_may_be_secret_is_not_told_and_that_is() -> None:
    canary = "s3cr3t-canary"
    for path, value in (
        ("spec.template.spec.containers[name=app].env", [{"name": "X", "value": canary}]),
        ("data.password", canary),
        ("spec.args", ["--token", canary]),
    ):
        text = proposal(SEEN, [change(path, None, value)])
        assert canary not in text
        assert "may be secret" in text
    secret = {**SEEN, "kind": "Secret", "apiVersion": "v1"}
    assert canary not in proposal(secret, [change("data.plain", None, canary)])


def test_what_is_removed_and_what_is_deleted_is_said() -> None:
    assert "# spec.paused: remove it" in proposal(SEEN, [change("spec.paused", True, None)])
    assert "remove this object from Git" in proposal(SEEN, [])


def test_a_manifest_that_is_too_large_tells_the_fields() -> None:
    text = proposal(SEEN, [change("data.big", None, "x" * 40_000)])
    assert "# data.big" in text
    assert len(text) < 1_000


@pytest.mark.looptime
async def test_nothing_is_changed_and_the_proposal_is_in_the_status() -> None:
    world = World()
    before = replicas(world)
    tracked(world)
    status = await run(world, gitOps="Propose")
    assert replicas(world) == before
    assert (status["phase"], status["verdict"], status["reason"]) == ("Failed", "Declined", "Proposed")
    (step,) = status["steps"]
    assert yaml.safe_load(step["outputs"]["proposal"])["spec"] == {"replicas": 5}
    assert step["outputs"]["owner"] == "Application argocd/shop"


@pytest.mark.looptime
async def test_a_run_that_proposed_is_never_said_to_have_helped() -> None:
    world = World()
    tracked(world)
    label = {"metadata": {"labels": {"x": "y"}}}
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": label}
    world.workflow(
        scale("one", 5, onFailure="Continue"),
        {"name": "two", "action": "patch_resource", "with": patch},
        guards={"gitOps": "Propose"},
        verify={"expect": ["true"], "stabilization": "0s"},
    )
    world.run(finalizers=["kubernaut.io/mirror"])
    live, reconciler = world.take_up(), world.reconciler()
    for _ in range(20):
        await reconciler.reconcile(live)
    status = world.stored()
    assert world.cluster.find("Deployment", "web")["metadata"]["labels"]["x"] == "y"
    assert (status["verdict"], status["reason"]) == ("Inconclusive", "Proposed")


class Web:
    alertmanager = ""

    def __init__(self, *answers: HttpAnswer | Exception) -> None:
        self.answers, self.sent = list(answers), list[HttpRequest]()

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HttpAnswer(202), "the webhook was told"),
        (HttpAnswer(500), "the webhook was not told: it answered 500"),
        (Unavailable("POST hook:80: no connection"), "the webhook was not told"),
    ],
)
async def test_the_webhook_is_told_once_and_its_trouble_is_not_the_runs(
    answer: HttpAnswer | Exception, told: str
) -> None:
    world, web = World(), Web(answer)
    world.proposals = Webhook("http://hook/x", web, Breaker("the webhook", fail_max=3))
    tracked(world)
    status = await run(world, gitOps="Propose")
    assert (status["reason"], len(web.sent)) == ("Proposed", 1)
    assert told in status["steps"][0]["message"]
    body = json.loads(web.sent[0].body)
    assert body["object"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
    }
    assert body["fields"] == ["spec.replicas"]
    assert web.sent[0].headers["Idempotency-Key"].endswith("/one")


@pytest.mark.looptime
async def test_a_webhook_that_is_away_is_not_asked_again_and_again() -> None:
    web = Web(*[Unavailable("away")] * 3)
    breaker = Breaker("the webhook", fail_max=3, probe_every=600.0)
    for _ in range(5):
        world = World()
        world.proposals = Webhook("http://hook/x", web, breaker)
        tracked(world)
        assert (await run(world, gitOps="Propose"))["reason"] == "Proposed"
    assert len(web.sent) == 3


@pytest.mark.looptime
async def test_a_dry_run_tells_the_webhook_nothing() -> None:
    world, web = World(), Web()
    world.proposals = Webhook("http://hook/x", web, Breaker("the webhook"))
    tracked(world)
    assert (await run(world, dry=True, gitOps="Propose"))["reason"] == "Proposed"
    assert web.sent == []


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://hooks.example.com/a", "hooks.example.com:443"), ("http://[::1]:80/x", "[::1]:80")],
)
def test_only_where_the_webhook_is_may_be_sent_to(url: str, host: str) -> None:
    assert host_of(url) == host
