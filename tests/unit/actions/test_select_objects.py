"""``select_objects``: all that match or none, in an order that does not hang on the API server's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.select_objects import SelectObjects, SelectObjectsParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import Manifest
from unit.actions.builders import context
from unit.actions.fake import FakeCluster

ACTION = SelectObjects()


def parameters(**more: Any) -> SelectObjectsParameters:
    given = {"apiVersion": "v1", "kind": "ConfigMap", "labelSelector": "app=web"}
    return SelectObjectsParameters.model_validate(given | more)


def config(name: str, namespace: str = "shop", **labels: str) -> Manifest:
    meta = {"name": name, "namespace": namespace, "labels": labels or {"app": "web"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"secret": "x"}}


async def test_what_matches_is_told_by_name_and_uid_sorted() -> None:
    cluster = FakeCluster().add(config("b"), config("a"), config("c", app="other"), config("d", "elsewhere"))
    done = await ACTION.perform(cluster, context(), parameters())
    assert done.outputs == {
        "items": [{"name": "a", "uid": "uid-configmap-a"}, {"name": "b", "uid": "uid-configmap-b"}],
        "count": 2,
    }
    assert not done.acted
    assert cluster.requests == ["list ConfigMap "]


async def test_none_that_match_are_an_empty_list() -> None:
    done = await ACTION.perform(FakeCluster(), context(), parameters())
    assert done.outputs == {"items": [], "count": 0}


async def test_as_many_as_the_limit_are_told_and_one_more_fails_with_the_count() -> None:
    cluster = FakeCluster().add(config("a"), config("b"))
    assert (await ACTION.perform(cluster, context(), parameters(limit=2))).outputs["count"] == 2
    cluster.add(config("c"))
    with pytest.raises(StepError, match=r"^3 objects match .* at most 2 ") as caught:
        await ACTION.perform(cluster, context(), parameters(limit=2))
    assert caught.value.reason is Reason.TOO_MANY_ITEMS


async def test_a_kind_without_namespace_is_refused() -> None:
    class Wide(FakeCluster):
        async def list(self, *_: Any, **__: Any) -> list[Manifest]:
            return [{"kind": "Node", "metadata": {"name": "one", "uid": "u"}}]

    with pytest.raises(StepError, match="has no namespace") as caught:
        await ACTION.perform(Wide(), context(), parameters(kind="Node"))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_a_right_that_lacks_is_told_as_that() -> None:
    with pytest.raises(Forbidden):
        await ACTION.perform(FakeCluster(forbidden={"list ConfigMap"}), context(), parameters())


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 101}, {"labelSelector": ""}, {"kind": "pods"}])
def test_parameters_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parameters(**wrong)


def test_it_needs_list_and_nothing_else() -> None:
    (right,) = ACTION.rights(None, parameters(apiVersion="apps/v1", kind="Deployment"))
    assert (right.verb, right.group, right.resource, right.names) == ("list", "apps", "deployments", ())
