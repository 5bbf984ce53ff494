"""What is large or may be secret is kept in a Secret of the run, and put back from there."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from e2e.websteps import acting, note
from e2e.world import REPAIR, ROOT, Place, steps, until

Manifest = dict[str, Any]

OLD, NEW = "the former word", "the newer word"
FAILS = note("fails", "change", expect={"spec.replicas": 99})


def allow(place: Place, folder: Path) -> None:
    """Let the account keep before-images, by a kustomization as a person writes it."""
    tenant = os.path.relpath(ROOT / "manifests" / "tenant", folder)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": place.namespace,
        "resources": [tenant],
        "components": [f"{tenant}/before-images"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    place.world.cluster.run_kubectl("apply", "-k", str(folder))
    for verb in ("create", "get"):
        place.await_right(place.account, {"verb": verb, "resource": "secrets"}, allowed=True)


def environment(value: str) -> Manifest:
    container = {"name": "app", "image": "kubernaut.local/pause:1", "env": [{"name": "WORD", "value": value}]}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def images(place: Place) -> list[Manifest]:
    return [one for one in place.list("Secret") if one["type"] == "kubernaut.io/before-image"]


def word(place: Place) -> str:
    (container,) = place.get("Deployment", "web")["spec"]["template"]["spec"]["containers"]
    found: str = container["env"][0]["value"]
    return found


def test_environment_variables_are_changed_and_put_back_and_told_nowhere(
    place: Place, tmp_path: Path
) -> None:
    allow(place, tmp_path)
    place.change("Deployment", "web", environment(OLD))
    place.workflow(acting("change", patch=environment(NEW)), FAILS, onFailure="Rollback")
    run = place.run()
    status = run.end()
    assert status["verdict"] == "RolledBack", status
    assert word(place) == OLD
    (secret,) = images(place)
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [run.uid]
    told = json.dumps([status, place.list("Event"), place.get("Deployment", "web")["metadata"]])
    assert secret["metadata"]["name"] in told
    assert OLD not in told
    assert NEW not in told
    writes = Counter(request.what for request in place.world.persisted(place.namespace, user=place.account))
    assert writes == {"secrets": 1, "deployments": 2}


def test_the_secret_goes_with_its_run(place: Place, tmp_path: Path) -> None:
    allow(place, tmp_path)
    place.change("Deployment", "web", environment(OLD))
    place.workflow(acting("change", patch=environment(NEW)))
    run = place.run()
    assert run.end()["phase"] == "Succeeded"
    assert word(place) == NEW
    assert len(images(place)) == 1
    place.delete("WorkflowExecution", "run")
    until("the garbage collector took the Secret", lambda: not images(place), 60.0)


def test_more_than_two_kibibytes_are_put_back_too(place: Place, tmp_path: Path) -> None:
    allow(place, tmp_path)
    large = {"metadata": {"annotations": {f"example.com/part-{n}": "x" * 1000 for n in range(4)}}}
    place.change("Deployment", "web", large)
    changed = {"metadata": {"annotations": dict.fromkeys(large["metadata"]["annotations"], "y")}}
    place.workflow(acting("change", patch=changed), FAILS, onFailure="Rollback")
    assert place.run().end()["verdict"] == "RolledBack"
    now = place.get("Deployment", "web")["metadata"]["annotations"]
    assert large["metadata"]["annotations"].items() <= now.items()


def test_an_account_that_may_not_keep_them_changes_nothing_and_is_told_what_it_lacks(place: Place) -> None:
    place.world.refusing.add(place.namespace)
    place.change("Deployment", "web", environment(OLD))
    place.workflow(acting("change", patch=environment(NEW)))
    status = place.run().end()
    step = steps(status)["change"]
    assert (status["phase"], step["reason"]) == ("Failed", "MissingRight")
    assert f"system:serviceaccount:{place.namespace}:{REPAIR}" in step["message"]
    assert "create and get on secrets" in step["message"]
    assert word(place) == OLD
    assert not images(place)
