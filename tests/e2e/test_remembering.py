"""An operator that remembers: what a Deployment was like while it was well comes back, whoever changed it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.world import ROOT, Place, World, steps, until
from localrun.process import Operator

REMEMBERING = {"KUBERNAUT_REMEMBER": "true", "KUBERNAUT_REMEMBER_AFTER": "1s", "KUBERNAUT_POLICY_CHECK": "1s"}
LABELLED = {"kubernaut.io/remember": "true"}
LOST = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "gone"}}}}}
RESTORE = {"name": "restore", "action": "restore_last_known_good"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The file of keys that it encrypts with."""
    path = tmp_path / "keys"
    path.write_text(key())
    return path


@pytest.fixture
def remembering(world: World, keys: Path) -> Iterator[Operator]:
    """An operator that remembers, in the stead of the usual one."""
    world.cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "remember"))
    env = {**REMEMBERING, "KUBERNAUT_ENCRYPTION_KEYS": str(keys)}
    with world.other_operator(world.postgres.dsn, env) as operator:
        yield operator
    world.cluster.run_kubectl("delete", "-k", str(ROOT / "manifests" / "remember"))


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode() + "\n"


def key_of(place: Place) -> str:
    """Return which key the declaration of the Deployment is encrypted with."""
    query = "select key_id from kubernaut.declarations where digest = $1"
    return "".join(row["key_id"] for digest in known(place) for row in place.world.rows(query, digest))


def known(place: Place) -> list[str]:
    """Return with what declarations the Deployment is remembered."""
    query = "select digest from kubernaut.known_good where namespace = $1 and kind = 'Deployment' and name = 'web'"
    return [str(row["digest"]) for row in place.world.rows(query, place.namespace)]


def allow_keeping(place: Place) -> None:
    """Let the account keep before-images."""
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get"]}]
    place.create("Role", {"metadata": {"name": "keep"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keep"}
    subject = {"kind": "ServiceAccount", "name": "kubernaut-repair", "namespace": place.namespace}
    place.create("RoleBinding", {"metadata": {"name": "keep"}, "roleRef": reference, "subjects": [subject]})


def test_what_was_remembered_before_a_restart_is_restored_after_it_and_under_another_key(
    world: World, remembering: Operator, keys: Path
) -> None:
    place = world.place()
    allow_keeping(place)
    place.label(**LABELLED)
    until("the Deployment is remembered", lambda: known(place))
    assert remembering.metric("kubernaut_remembered_objects", health="Healthy") >= 1
    place.change("Deployment", "web", LOST)
    until(
        "the Deployment says that it is not well",
        lambda: place.get("Deployment", "web")["status"].get("unavailableReplicas"),
    )
    remembering.stop()
    first, former = key_of(place), keys.read_text()
    keys.write_text(key() + former)
    world.restart_operator()
    until("it is under the new key", lambda: key_of(place) not in ("", first))
    keys.write_text(keys.read_text().removesuffix(former))
    verify = {"expect": ["!has(target.spec.template.spec.nodeSelector)"]}
    place.workflow(RESTORE, verify=verify)
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Remediated")
    step = steps(status)["restore"]
    assert step["changed"] == [
        f'Deployment {place.namespace}/web: spec.template.spec.nodeSelector: {{"disk": "gone"}} -> unset'
    ]
    assert len(known(place)) == 1
    (row,) = world.rows("select content, size from kubernaut.declarations where digest = $1", known(place)[0])
    assert 0 < len(row["content"]) < row["size"]


def test_without_postgres_the_step_fails_at_once_and_says_what_to_do(
    world: World, remembering: Operator
) -> None:
    place = world.place()
    allow_keeping(place)
    place.label(**LABELLED)
    until("the Deployment is remembered", lambda: known(place))
    place.change("Deployment", "web", LOST)
    place.workflow(RESTORE)
    with world.without_history():
        status = place.run().end()
    assert status["phase"] == "Failed"
    step = steps(status)["restore"]
    assert step["reason"] == "HistoryAway"
    assert "can't be known now" in step["message"]
    assert "nodeSelector" in str(place.get("Deployment", "web")["spec"]["template"]["spec"])


def test_what_nobody_asked_for_is_not_remembered(world: World, remembering: Operator) -> None:
    plain, labelled = world.place(), world.place()
    labelled.label(**LABELLED)
    until("the one with the label is remembered", lambda: known(labelled))
    assert known(plain) == []
