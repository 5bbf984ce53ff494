"""rotate_secrets on a real API server: cut off between the Secret and its users, and where values are left."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from apiserver.acting import Place
from apiserver.scenarios.configuration import signed_in
from apiserver.scenarios.scenario import RUN
from kubernaut.actions.configuration.rotate_secrets import RotateSecrets, RotateSecretsParameters
from kubernaut.api.names import API_VERSION
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Unavailable
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

rotate = RotateSecrets()
GIVEN = RotateSecretsParameters.model_validate({"keys": ["key"], "restart": [{"name": "api"}]})


class CutOff:
    """A cluster whose API server is away when a Deployment is to be changed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def patch(self, ref: ObjectRef, body: Manifest, **more: Any) -> Manifest:
        if ref.kind == "Deployment" and not more.get("dry_run"):
            raise Unavailable("the API server is away", status=503)
        return await self._cluster.patch(ref, body, **more)


async def begun(place: Place) -> tuple[Cluster, StepContext]:
    secret = signed_in(place)
    run = place.create(API_VERSION, "workflowexecutions", RUN)
    context = place.context(secret, run_uid=run["metadata"]["uid"])
    return place.account(rotate.rights(context.target, GIVEN)), context


def value(place: Place) -> str:
    return str(place.get("v1", "secrets", "session")["data"]["key"])


async def test_a_step_that_was_cut_off_goes_on_with_the_value_it_made(place: Place) -> None:
    account, context = await begun(place)
    former, generation = value(place), place.deployment()["metadata"]["generation"]
    cut: Any = CutOff(account)
    with pytest.raises(Unavailable):
        await rotate.perform(cut, context, GIVEN)
    new = value(place)
    assert new != former
    assert await rotate.recall(account, context, GIVEN) is None
    for _ in range(2):
        assert (await rotate.perform(account, context, GIVEN)).acted
    assert await rotate.recall(account, context, GIVEN) is not None
    assert value(place) == new
    assert place.deployment()["metadata"]["generation"] == generation + 1


async def test_no_other_object_holds_the_new_value_and_only_the_run_s_secret_the_former(place: Place) -> None:
    account, context = await begun(place)
    former = base64.b64decode(value(place)).decode()
    await rotate.perform(account, context, GIVEN)
    new = base64.b64decode(value(place)).decode()
    place.settled()
    others = [one for one in place.items("v1", "secrets") if one["metadata"]["name"] != "session"]
    (kept,) = others
    assert [owner["kind"] for owner in kept["metadata"]["ownerReferences"]] == ["WorkflowExecution"]
    images = base64.b64decode(kept["data"]["images"]).decode()
    assert base64.b64encode(former.encode()).decode() in images
    rest = [place.items("v1", resource) for resource in ("pods", "configmaps", "events")]
    rest += [place.items("apps/v1", resource) for resource in ("deployments", "replicasets")]
    rest.append([place.get("v1", "secrets", "session")["metadata"]])
    text = json.dumps(rest) + images
    for one in (new, base64.b64encode(new.encode()).decode()):
        assert one not in text
    assert former not in json.dumps(rest)
