"""set_image: exact references, the expected image, the container's own place in the template."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.workloads.set_image import SetImage, SetImageParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import ObjectRef, Right
from unit.actions.builders import container, context, pod, template, workload
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

DIGEST = "a" * 64
set_image = SetImage()


def wanted(image: str = "shop/api:2", **parameters: Any) -> SetImageParameters:
    return SetImageParameters.model_validate({"image": image, **parameters})


def images(cluster: FakeCluster, kind: str = "Deployment", part: str = "containers") -> list[str]:
    spec = cluster.find(kind, "api")["spec"]["template"]["spec"]
    return [one["image"] for one in spec[part]]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_the_image_is_set_once_and_put_back_whatever_the_kind(kind: str) -> None:
    api = workload(kind)
    cluster = FakeCluster().add(api)
    done = await check_once_and_undone(cluster, set_image, context(api), wanted(), kind, "api")
    assert done.outputs == {"container": "app", "before": "shop/api:1", "image": "shop/api:2"}
    path = "spec.template.spec.containers[name=app].image"
    assert done.changed == (f'{kind} shop/api: {path}: "shop/api:1" -> "shop/api:2"',)


async def test_other_containers_keep_their_image() -> None:
    pod_template = template(container(), container("proxy", "proxy:1"))
    cluster = FakeCluster().add(workload("Deployment", pod_template))
    await set_image.perform(cluster, context(), wanted(container="proxy"))
    assert images(cluster) == ["shop/api:1", "shop/api:2"]


async def test_an_init_container_can_be_named() -> None:
    pod_template = template(initContainers=[container("migrate", "shop/api:1")])
    cluster = FakeCluster().add(workload("Deployment", pod_template))
    await set_image.perform(cluster, context(), wanted(container="migrate"))
    assert (images(cluster), images(cluster, part="initContainers")) == (["shop/api:1"], ["shop/api:2"])


@pytest.mark.parametrize(
    ("pod_template", "name", "told"),
    [
        (template(container(), container("proxy")), None, "several containers.*; there are: app, proxy"),
        (
            template(initContainers=[container("migrate")]),
            "web",
            "no container 'web'; there are: app, migrate",
        ),
    ],
)
async def test_the_container_has_to_be_clear(
    pod_template: dict[str, Any], name: str | None, told: str
) -> None:
    cluster = FakeCluster().add(workload("Deployment", pod_template))
    with pytest.raises(StepError, match=told) as caught:
        await set_image.perform(cluster, context(), wanted(container=name))
    assert caught.value.reason is Reason.INVALID_PARAMETERS


async def test_another_image_than_the_expected_one_is_left_alone() -> None:
    cluster = FakeCluster().add(workload("Deployment"))
    with pytest.raises(StepError, match="has the image shop/api:1, but shop/api:0 is expected") as caught:
        await set_image.perform(cluster, context(), wanted(expect="shop/api:0"))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_the_expected_image_is_looked_at_right_before_the_change() -> None:
    cluster = FakeCluster().add(workload("Deployment"))
    other = {"spec": {"template": {"spec": {"containers": [container(image="shop/api:3")]}}}}
    cluster.troubles["patch"] = [lambda: cluster.edit("Deployment", "api", other)]
    with pytest.raises(StepError, match="shop/api:3, but shop/api:1 is expected"):
        await set_image.perform(cluster, context(), wanted(expect="shop/api:1"))
    assert images(cluster) == ["shop/api:3"]


@pytest.mark.parametrize("expect", [None, "shop/api:0"])
async def test_an_image_that_is_there_already_needs_nothing(expect: str | None) -> None:
    cluster = FakeCluster().add(workload("Deployment"))
    done = await set_image.perform(cluster, context(), wanted("shop/api:1", expect=expect))
    assert (done.acted, cluster.writes) == (False, [])


@pytest.mark.parametrize(
    ("kind", "spec", "told"),
    [
        ("Deployment", {"paused": True}, "is paused"),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
    ],
)
async def test_what_would_not_be_rolled_out_is_refused(kind: str, spec: dict[str, Any], told: str) -> None:
    api = workload(kind, **spec)
    cluster = FakeCluster().add(api)
    with pytest.raises(StepError, match=told) as caught:
        await set_image.perform(cluster, context(api), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_partition_is_told() -> None:
    api = workload("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 3}})
    done = await set_image.perform(FakeCluster().add(api), context(api), wanted())
    assert done.message.endswith("; only the pods from number 3 on (its partition) are replaced")


async def test_undo_refuses_where_someone_set_another_image_since() -> None:
    cluster = FakeCluster().add(workload("Deployment"))
    patch = {"spec": {"template": {"spec": {"containers": [container(image="shop/api:3")]}}}}
    await check_undo_refuses(cluster, set_image, context(), wanted(), patch)


@pytest.mark.parametrize(
    "image",
    [
        "nginx:1.27",
        "localhost:5000/nginx:1",
        "example.com/shop/api:1.4.2",
        f"example.com/shop/api@sha256:{DIGEST}",
        f"example.com:443/a_b/c__d/e-f.g:v1@sha256:{DIGEST}",
        "[fd00::1]:5000/api:1",
    ],
)
def test_references_of_the_registries_grammar_are_taken(image: str) -> None:
    assert wanted(image).image == image


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("", "is not an image reference"),
        ("shop/api:", "is not an image reference"),
        ("shop/API:1", "is not an image reference"),
        ("shop//api:1", "is not an image reference"),
        ("https://example.com/api:1", "is not an image reference"),
        ("shop/api:1 ", "is not an image reference"),
        ("shop/api:1\n", "is not an image reference"),
        ("user:word@example.com/api:1", "is not an image reference"),
        ("shop/api@sha256:abc", "is not an image reference"),
        (f"shop/api:{'1' * 129}", "is not an image reference"),
        (f"{'a' * 256}:1", "is not an image reference"),
        ("shop/api", "names no version"),
        ("localhost:5000/api", "names no version"),
    ],
)
def test_references_that_are_malformed_or_name_no_version_are_refused(image: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(image)


DEPLOYMENT = ObjectRef("apps/v1", "Deployment", "shop", "api")
DAEMON_SET = ObjectRef("apps/v1", "DaemonSet", "shop", "api")
POD = ObjectRef("v1", "Pod", "shop", "api-1")


@pytest.mark.parametrize(
    ("target", "parameters", "resource", "names"),
    [
        (DEPLOYMENT, {}, "deployments", ("api",)),
        (DAEMON_SET, {}, "daemonsets", ("api",)),
        (DAEMON_SET, {"name": "web"}, "daemonsets", ("web",)),
        (DAEMON_SET, {"name": "web", "kind": "StatefulSet"}, "statefulsets", ("web",)),
        (POD, {"name": "web"}, "deployments", ("web",)),
        (None, {}, "deployments", ()),
        (None, {"kind": "DaemonSet"}, "daemonsets", ()),
    ],
)
def test_the_kind_is_as_asked_for_else_the_targets(
    target: ObjectRef | None, parameters: dict[str, Any], resource: str, names: tuple[str, ...]
) -> None:
    assert set_image.rights(target, wanted(**parameters)) == (
        Right("get", "apps", resource, names),
        Right("patch", "apps", resource, names),
    )


async def test_a_target_of_another_kind_needs_a_name() -> None:
    with pytest.raises(StepError, match=r"not a StatefulSet; name the StatefulSet under with\.name"):
        await set_image.perform(FakeCluster().add(pod()), context(pod()), wanted(kind="StatefulSet"))
