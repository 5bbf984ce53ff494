"""What a real container's log calls a secret is not in what collect_diagnostics tells of it."""

from __future__ import annotations

import asyncio

from apiserver.acting import Place
from e2e.canaries import Canaries
from kubernaut.actions import pods
from kubernaut.actions.registry import ActionRegistry
from localcluster import Cluster
from node.test_actions_diagnostics import pod_of

COLLECT = ActionRegistry().get("collect_diagnostics")


def script(canaries: Canaries) -> str:
    plant = canaries.plant
    lines = [
        "starting",
        f"password={plant('assignment')}",
        f"connecting to postgres://shop:{plant('URL')}@db/shop",
        f"GET /x?access_token={plant('token in a URL')}",
        f"Authorization: Bearer {plant('header')}",
        f'{{"level": "info", "apiKey": "{plant("JSON")}"}}',
        f"argument --client-secret {plant('argument')}",
        "-----BEGIN PRIVATE KEY-----",
        plant("private key"),
        "-----END PRIVATE KEY-----",
        "boom",
    ]
    said = " ".join(f"'{line}'" for line in lines)
    return f"printf '%s\\n' {said}; exit 3"


async def test_what_a_log_calls_a_secret_is_not_told(cluster: Cluster, place: Place) -> None:
    canaries = Canaries()
    container = {
        "name": "app",
        "image": cluster.real_image("busybox"),
        "command": ["sh", "-c", script(canaries)],
    }
    labels = {"app": "talks"}
    target = place.create(
        "apps/v1",
        "deployments",
        {
            "metadata": {"name": "talks"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
    )
    async with asyncio.timeout(120):
        async for pod in place.connection.own().watch(await pod_of(place, "talks")):
            if pod is not None and pods.restarts(pod):
                break
    context = place.context({"apiVersion": "apps/v1", "kind": "Deployment", **target})
    account = place.account(COLLECT.rights(context.target, COLLECT.parameters()))
    done = await COLLECT.perform(account, context, COLLECT.parameters())
    tail = str(done.outputs["logTail"])
    assert tail.startswith("starting\n")
    assert tail.endswith("boom\n")
    assert canaries.found({"outputs": str(done)}) == []
