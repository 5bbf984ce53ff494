"""restore_configmap."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.configuration.restore_configmap import RestoreConfigMap, RestoreConfigMapParameters
from kubernaut.api.names import SWITCH_CONFIGMAP
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

restore = RestoreConfigMap()
KEPT = (Right("create", "", "secrets"), Right("get", "", "secrets"))


def config(name: str, data: dict[str, str] | None = None, **more: Any) -> Manifest:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
    held = {"data": data} if data else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **held, **more}


def wanted(**parameters: Any) -> RestoreConfigMapParameters:
    return RestoreConfigMapParameters.model_validate(parameters)


HERE = context(config("settings"))
FROM = wanted(**{"from": "good"})


def held(cluster: FakeCluster, field: str = "data") -> Any:
    return cluster.find("ConfigMap", "settings").get(field)


async def refusal(cluster: FakeCluster, parameters: RestoreConfigMapParameters) -> str:
    with pytest.raises(StepError) as caught:
        await restore.perform(cluster, HERE, parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    return str(caught.value)


async def test_all_data_is_as_in_the_copy_and_undo_puts_back_what_was_there() -> None:
    good = config("good", {"level": "info", "gone": "x"}, binaryData={"logo": "AAAA"})
    cluster = FakeCluster().add(config("settings", {"level": "debug", "extra": "y"}), good)
    done = await check_once_and_undone(cluster, restore, HERE, FROM, "ConfigMap", "settings")
    assert done.outputs == {"keys": ["extra", "gone", "level", "logo"]}
    fresh = FakeCluster().add(config("settings", {"level": "debug", "extra": "y"}), good)
    await restore.perform(fresh, HERE, FROM)
    assert (held(fresh), held(fresh, "binaryData")) == ({"level": "info", "gone": "x"}, {"logo": "AAAA"})
    assert cluster.find("ConfigMap", "good")["data"] == good["data"]


async def test_of_a_copy_single_keys_can_be_taken() -> None:
    good = config("good", {"level": "info", "other": "z"})
    cluster = FakeCluster().add(config("settings", {"level": "debug", "extra": "y"}), good)
    await restore.perform(cluster, HERE, wanted(**{"from": "good", "keys": ["level"]}))
    assert held(cluster) == {"level": "info", "extra": "y"}


async def test_a_key_that_became_binary_is_text_again() -> None:
    cluster = FakeCluster().add(
        config("settings", binaryData={"level": "AAAA"}), config("good", {"level": "info"})
    )
    await restore.perform(cluster, HERE, wanted(**{"from": "good", "keys": ["level"]}))
    assert (held(cluster), held(cluster, "binaryData")) == ({"level": "info"}, None)
    other = FakeCluster().add(config("settings", binaryData={"level": "AAAA"}))
    await restore.perform(other, HERE, wanted(values={"level": "info"}))
    assert (held(other), held(other, "binaryData")) == ({"level": "info"}, None)


async def test_single_keys_get_the_texts_given_and_others_stay() -> None:
    cluster = FakeCluster().add(config("settings", {"level": "debug", "extra": "y"}))
    given = wanted(values={"level": "info"})
    done = await check_once_and_undone(cluster, restore, HERE, given, "ConfigMap", "settings")
    assert done.changed == ('ConfigMap shop/settings: data.level: "debug" -> "info"',)


async def test_a_config_map_that_is_as_it_should_be_is_left_alone() -> None:
    cluster = FakeCluster().add(
        config("settings", {"level": "info"}, immutable=True), config("good", {"level": "info"})
    )
    done = await restore.perform(cluster, HERE, FROM)
    assert (done.acted, done.outputs, cluster.writes) == (False, {"keys": []}, [])
    assert "is as ConfigMap shop/good already" in done.message


async def test_undo_refuses_where_someone_changed_a_key_since_and_keeps_other_keys() -> None:
    both = (config("settings", {"level": "debug"}), config("good", {"level": "info"}))
    await check_undo_refuses(FakeCluster().add(*both), restore, HERE, FROM, {"data": {"level": "warn"}})
    cluster = FakeCluster().add(*both)
    await restore.perform(cluster, HERE, FROM)
    cluster.edit("ConfigMap", "settings", {"data": {"new": "key"}})
    await restore.undo(cluster, HERE, FROM)
    assert held(cluster) == {"level": "debug", "new": "key"}


async def test_an_immutable_config_map_is_refused() -> None:
    cluster = FakeCluster().add(config("settings", {"level": "debug"}, immutable=True))
    assert "is immutable" in await refusal(cluster, wanted(values={"level": "info"}))


async def test_a_copy_that_holds_nothing_or_lacks_a_key_is_no_good_copy() -> None:
    cluster = FakeCluster().add(config("settings", {"level": "debug"}), config("good"))
    assert "holds nothing" in await refusal(cluster, FROM)
    cluster = FakeCluster().add(config("settings", {"level": "debug"}), config("good", {"a": "b"}))
    assert "has no key level" in await refusal(cluster, wanted(**{"from": "good", "keys": ["level"]}))


async def test_a_copy_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="ConfigMap shop/good"):
        await restore.perform(FakeCluster().add(config("settings", {"a": "b"})), HERE, FROM)


async def test_a_config_map_is_not_its_own_copy() -> None:
    cluster = FakeCluster().add(config("settings", {"level": "debug"}))
    assert "is the ConfigMap itself" in await refusal(cluster, wanted(**{"from": "settings"}))


async def test_the_switch_is_left_alone() -> None:
    switch = config(SWITCH_CONFIGMAP, {"acting": "false"})
    cluster = FakeCluster().add(switch)
    with pytest.raises(StepError, match="is Kubernaut's own"):
        await restore.perform(cluster, context(switch), wanted(values={"acting": "true"}))
    assert cluster.writes == []


@pytest.mark.parametrize(
    "values",
    [{"dbPassword": "hunter2"}, {"app.conf": "db.password = hunter2"}, {"page": "hunter2" * 500}],
    ids=["key", "text", "large"],
)
async def test_what_may_be_secret_or_is_large_is_kept_in_a_secret_and_told_nowhere(
    values: dict[str, str],
) -> None:
    cluster = FakeCluster().add(config("settings", dict.fromkeys(values, "old")))
    given = wanted(values=values)
    assert restore.rights(None, given)[-2:] == KEPT
    done = await restore.perform(cluster, HERE, given)
    assert [what.split()[0] for _, what, _ in cluster.writes] == ["Secret", "ConfigMap"]
    metadata = cluster.find("ConfigMap", "settings")["metadata"]
    for words in (done.message, *done.changed, json.dumps(dict(done.outputs)), json.dumps(metadata)):
        assert "hunter2" not in words
    await restore.undo(cluster, HERE, given)
    assert held(cluster) == dict.fromkeys(values, "old")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "exactly one of from and values"),
        ({"from": "good", "values": {"a": "b"}}, "exactly one of from and values"),
        ({"values": {"a": "b"}, "keys": ["a"]}, "keys needs from"),
        ({"name": "good", "from": "good"}, "the ConfigMap itself"),
        ({"name": SWITCH_CONFIGMAP, "from": "good"}, "is Kubernaut's own"),
        ({"values": {"a/b": "c"}}, "should match pattern"),
        ({"values": {"a": "x" * 65537}}, "at most 65536"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        wanted(**parameters)


def test_rights_name_the_config_map_and_its_copy() -> None:
    target = ObjectRef("v1", "ConfigMap", "shop", "settings")
    own = (Right("get", "", "configmaps", ("settings",)), Right("patch", "", "configmaps", ("settings",)))
    assert restore.rights(target, wanted(values={"level": "info"})) == own
    assert restore.rights(target, FROM) == (*own, Right("get", "", "configmaps", ("good",)), *KEPT)
