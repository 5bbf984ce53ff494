"""rotate_secrets: one new value, in one place, and each of its users restarted once."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.configuration.rotate_secrets import RotateSecrets, RotateSecretsParameters, uses_secret
from kubernaut.api.names import SIGNING_SECRET
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef, Right
from kubernaut.engine.dryrun import DryRunCluster
from unit.actions.builders import container, context, deployment
from unit.actions.fake import FakeCluster, Lost
from unit.actions.once import content

rotate = RotateSecrets()
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str = "session", **more: Any) -> Manifest:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}", **more.pop("metadata", {})}
    data = {"key": encoded("known to all"), "issuer": encoded("shop")}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data, **more}


def user(name: str = "api", secret_name: str = "session", **spec: Any) -> Manifest:
    source = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret_name, "key": "key"}}}
    return deployment(name, pod={"spec": {"containers": [container(env=[source])]}}, **spec)


def wanted(**parameters: Any) -> RotateSecretsParameters:
    return RotateSecretsParameters.model_validate({"keys": ["key"]} | parameters)


HERE = context(secret())
BOTH = wanted(restart=[{"name": "api"}, {"name": "web"}])


def world(**more: Any) -> FakeCluster:
    return FakeCluster().add(secret(**more), user("api"), user("web"))


def value(cluster: FakeCluster, key: str = "key") -> str:
    return base64.b64decode(cluster.find("Secret", "session")["data"][key]).decode()


def restarted_at(cluster: FakeCluster, name: str) -> Any:
    template = cluster.find("Deployment", name)["spec"]["template"]
    return ((template.get("metadata") or {}).get("annotations") or {}).get(RESTARTED)


def written(cluster: FakeCluster) -> list[str]:
    return [what for _, what, _ in cluster.writes]


async def refusal(cluster: FakeCluster, parameters: RotateSecretsParameters) -> str:
    before = copy.deepcopy(cluster.objects)
    with pytest.raises(StepError) as caught:
        await rotate.perform(cluster, HERE, parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert (cluster.objects, cluster.writes) == (before, [])
    return str(caught.value)


async def test_a_key_gets_one_new_value_however_often_it_is_tried_and_undo_gives_the_former_back() -> None:
    cluster = world()
    before = copy.deepcopy(content(cluster.find("Secret", "session")))
    cluster.troubles["patch"] = [Lost(landed=False), Lost(landed=True)]
    first = await rotate.perform(cluster, HERE, wanted())
    new = value(cluster)
    again = await rotate.perform(cluster, HERE, wanted())
    assert value(cluster) == new != "known to all"
    assert value(cluster, "issuer") == "shop"
    assert (first.acted, first.outputs, first.changed) == (again.acted, again.outputs, again.changed)
    assert first.outputs == {"keys": ["key"], "restarted": []}
    for _ in range(2):
        assert (await rotate.undo(cluster, HERE, wanted())).acted
    assert content(cluster.find("Secret", "session")) == before
    assert [what.split()[1] for what in written(cluster)][1:] == ["shop/session", "shop/session"]


async def test_the_new_value_is_nowhere_but_in_the_secret_and_no_value_is_told() -> None:
    cluster = world()
    done = await rotate.perform(cluster, HERE, BOTH)
    new = value(cluster)
    undone = await rotate.undo(cluster, HERE, BOTH)
    told = [done.message, *done.changed, json.dumps(dict(done.outputs)), undone.message, *undone.changed]
    (kept,) = [
        one for (kind, _, name), one in cluster.objects.items() if kind == "Secret" and name != "session"
    ]
    images = base64.b64decode(kept["data"]["images"]).decode()
    for (_, _, name), one in cluster.objects.items():
        told.append(json.dumps(one["metadata"] if name == "session" else one))
    for words in (*told, images):
        assert new not in words
        assert encoded(new) not in words
    assert encoded("known to all") in images
    assert not any("known to all" in words or encoded("known to all") in words for words in told)


@pytest.mark.parametrize(
    ("alphabet", "length", "characters"),
    [("Alphanumeric", 40, str.isalnum), ("Hex", 64, lambda text: int(text, 16) >= 0), ("UrlSafe", 16, str)],
)
async def test_the_value_has_the_alphabet_and_the_length_that_were_asked_for(
    alphabet: str, length: int, characters: Any
) -> None:
    values = set()
    for _ in range(20):
        cluster = world()
        await rotate.perform(cluster, HERE, wanted(alphabet=alphabet, length=length))
        values.add(value(cluster))
    assert len(values) == 20
    assert all(len(one) == length and characters(one) for one in values)


async def test_its_users_are_restarted_after_it_in_order_and_once() -> None:
    cluster = world()
    for _ in range(2):
        done = await rotate.perform(cluster, HERE, BOTH)
        assert done.outputs["restarted"] == ["Deployment api", "Deployment web"]
        assert len(done.changed) == 3
    assert written(cluster)[1:] == ["Secret shop/session", "Deployment shop/api", "Deployment shop/web"]
    assert restarted_at(cluster, "api") == restarted_at(cluster, "web") == "2026-03-01T12:00:00Z"


async def test_after_a_crash_those_that_were_not_restarted_are_and_the_value_stays() -> None:
    cluster = world()
    cluster.troubles["patch"] = [None, None, Unavailable("gone for now", status=503)]
    with pytest.raises(Unavailable):
        await rotate.perform(cluster, HERE, BOTH)
    new = value(cluster)
    assert await rotate.recall(cluster, HERE, BOTH) is None
    done = await rotate.perform(cluster, HERE, BOTH)
    assert (done.acted, value(cluster)) == (True, new)
    assert written(cluster)[1:] == ["Secret shop/session", "Deployment shop/api", "Deployment shop/web"]
    recalled = await rotate.recall(cluster, HERE, BOTH)
    assert recalled is not None
    assert (recalled.acted, recalled.changed) == (True, done.changed)


async def test_a_value_that_met_another_writer_is_decided_anew_and_that_writer_s_is_what_undo_gives_back() -> (
    None
):
    cluster = world()
    cluster.troubles["patch"] = [
        lambda: cluster.edit("Secret", "session", {"data": {"key": encoded("theirs")}})
    ]
    await rotate.perform(cluster, HERE, wanted())
    await rotate.undo(cluster, HERE, wanted())
    assert value(cluster) == "theirs"


async def test_undo_puts_the_secret_and_its_users_back() -> None:
    cluster = world()
    before = {name: copy.deepcopy(content(cluster.find("Deployment", name))) for name in ("api", "web")}
    await rotate.perform(cluster, HERE, BOTH)
    for _ in range(2):
        assert (await rotate.undo(cluster, HERE, BOTH)).acted
    assert {name: content(cluster.find("Deployment", name)) for name in before} == before
    assert value(cluster) == "known to all"
    assert len(cluster.writes) == 7


async def test_undo_refuses_where_someone_changed_the_value_since_and_restarts_nobody() -> None:
    cluster = world()
    await rotate.perform(cluster, HERE, BOTH)
    cluster.edit("Secret", "session", {"data": {"key": encoded("theirs")}})
    sent = len(cluster.writes)
    with pytest.raises(StepError, match=r"data\.key is no longer as the step had set it") as caught:
        await rotate.undo(cluster, HERE, BOTH)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert "theirs" not in str(caught.value)
    assert len(cluster.writes) == sent


async def test_undo_tells_of_a_user_that_someone_restarted_since_and_puts_the_others_back() -> None:
    cluster = world()
    await rotate.perform(cluster, HERE, BOTH)
    theirs = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: "2026-03-02T00:00:00Z"}}}}}
    cluster.edit("Deployment", "api", theirs)
    with pytest.raises(StepError, match="Deployment shop/api") as caught:
        await rotate.undo(cluster, HERE, BOTH)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert value(cluster) == "known to all"
    assert restarted_at(cluster, "web") is None


async def test_a_step_that_is_fenced_off_makes_no_value_any_more() -> None:
    cluster = world()
    assert not (await rotate.fence(cluster, HERE, BOTH)).acted
    with pytest.raises(StepError) as caught:
        await rotate.perform(cluster, HERE, BOTH)
    assert caught.value.reason is Reason.FENCED
    assert value(cluster) == "known to all"
    assert restarted_at(cluster, "api") is None


async def test_a_step_that_is_fenced_off_half_way_restarts_nobody_any_more() -> None:
    cluster = world()
    cluster.troubles["patch"] = [None, None, Unavailable("gone for now", status=503)]
    with pytest.raises(Unavailable):
        await rotate.perform(cluster, HERE, BOTH)
    done = await rotate.fence(cluster, HERE, BOTH)
    assert done.acted
    assert "Deployment shop/web was not restarted" in done.message
    with pytest.raises(StepError) as caught:
        await rotate.perform(cluster, HERE, BOTH)
    assert caught.value.reason is Reason.FENCED
    assert restarted_at(cluster, "web") is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"immutable": True}, "is immutable"),
        ({"type": "kubernetes.io/tls"}, "is of type kubernetes.io/tls"),
        ({"type": "kubernetes.io/service-account-token"}, "is of type kubernetes.io/service-account-token"),
        ({"type": "kubernaut.io/before-image"}, "is of type kubernaut.io/before-image"),
        (
            {"metadata": {"ownerReferences": [{"kind": "ExternalSecret", "name": "s", "controller": True}]}},
            "is kept by ExternalSecret s",
        ),
        ({"data": {"other": "eA=="}}, "has no key key; it has: other"),
        ({"data": None}, "has no key key; it has: none"),
    ],
)
async def test_a_secret_whose_values_are_not_free_to_choose_is_left_alone(
    more: dict[str, Any], told: str
) -> None:
    assert told in await refusal(world(**more), wanted())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (user("web", "another"), "Deployment shop/web does not use Secret shop/session"),
        (user("web", paused=True), "is paused"),
    ],
)
async def test_a_user_that_can_not_be_restarted_is_found_before_anything_is_changed(
    other: Manifest, told: str
) -> None:
    cluster = FakeCluster().add(secret(), user("api"), other)
    assert told in await refusal(cluster, BOTH)


@pytest.mark.parametrize("right", ["dry-run Deployment", "get Deployment", "create Secret", "get Secret"])
async def test_a_right_that_lacks_is_found_before_anything_is_changed(right: str) -> None:
    cluster = world()
    cluster.forbidden.add(right)
    with pytest.raises(Forbidden):
        await rotate.perform(cluster, HERE, BOTH)
    assert value(cluster) == "known to all"
    assert restarted_at(cluster, "api") is None


async def test_the_signing_key_is_left_alone() -> None:
    own = secret(SIGNING_SECRET)
    cluster = FakeCluster().add(own)
    with pytest.raises(StepError, match="is Kubernaut's own"):
        await rotate.perform(cluster, context(own), wanted())
    assert cluster.writes == []


async def test_a_dry_run_changes_nothing() -> None:
    cluster = world()
    assert (await rotate.perform(DryRunCluster(cluster), HERE, BOTH)).acted
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("pod", "uses"),
    [
        ({"containers": [{"envFrom": [{"secretRef": {"name": "session"}}]}]}, True),
        ({"volumes": [{"name": "v", "secret": {"secretName": "session"}}]}, True),
        ({"volumes": [{"projected": {"sources": [{"secret": {"name": "session"}}]}}]}, True),
        ({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "session"}}}]}]}, True),
        ({"containers": [{"name": "session", "env": [{"name": "session", "value": "session"}]}]}, False),
        ({"volumes": [{"configMap": {"name": "session"}}]}, False),
    ],
)
def test_a_pod_template_uses_a_secret_as_variables_or_as_files(pod: Any, uses: bool) -> None:
    assert uses_secret({"spec": pod}, "session") is uses


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"keys": []}, "at least 1"),
        ({"keys": ["a", "a"]}, "keys names one twice"),
        ({"keys": ["a/b"]}, "should match pattern"),
        ({"length": 8}, "length 8 of Alphanumeric holds 48 bits"),
        ({"alphabet": "Hex", "length": 19}, "holds 76 bits"),
        ({"length": 513}, "less than or equal to 512"),
        ({"restart": [{"name": "api"}, {"kind": "Deployment", "name": "api"}]}, "restart names one twice"),
        ({"restart": [{"kind": "Job", "name": "api"}]}, "Deployment"),
        ({"name": SIGNING_SECRET}, "is Kubernaut's own"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_name_the_secret_and_its_users() -> None:
    target = ObjectRef("v1", "Secret", "shop", "session")
    assert rotate.rights(target, wanted(restart=[{"kind": "StatefulSet", "name": "db"}])) == (
        Right("patch", "", "secrets", ("session",)),
        Right("create", "", "secrets"),
        Right("get", "", "secrets"),
        Right("get", "apps", "statefulsets", ("db",)),
        Right("patch", "apps", "statefulsets", ("db",)),
    )
