"""helm_rollback against releases that the real Helm makes, and what Helm makes of its record afterwards.

It is Helm 4, told to patch from the client's side as Helm 3 does; both keep releases in the same form.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from kubernaut.actions.releases.helm_rollback import HelmRollback
from kubernaut.actions.releases.planning import HelmRollbackParameters
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.engine.gated import GatedCluster
from localcluster import Cluster as LocalCluster
from localcluster.build import Build, Builder
from localcluster.progress import Progress

GOOD, BAD = "kubernaut.local/pause:1", "kubernaut.local/nowhere:1"
CHART = """\
apiVersion: v2
name: shop
version: 1.0.0
"""
TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-settings
data:
  level: {{ .Values.level | quote }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-api
spec:
  replicas: 1
  selector:
    matchLabels: {app: api}
  template:
    metadata:
      labels: {app: api}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: {{ .Values.image }}
        {{- if .Values.debug }}
        args: ["--debug"]
        {{- end }}
"""
rollback = HelmRollback()


class Helm:
    """The command, in a namespace, with a chart of one Deployment and one ConfigMap."""

    def __init__(self, binary: Path, kubeconfig: Path, namespace: str, folder: Path) -> None:
        self._binary = binary
        self._namespace = namespace
        self.chart = folder / "shop"
        (self.chart / "templates").mkdir(parents=True)
        (self.chart / "Chart.yaml").write_text(CHART)
        (self.chart / "values.yaml").write_text(f"image: {GOOD}\nlevel: info\ndebug: false\n")
        (self.chart / "templates" / "all.yaml").write_text(TEMPLATE)
        homes = {f"HELM_{what}_HOME": str(folder / what.lower()) for what in ("CACHE", "CONFIG", "DATA")}
        self._environment = {**os.environ, **homes, "KUBECONFIG": str(kubeconfig)}

    def run(self, *words: str, fails: bool = False) -> str:
        told = subprocess.run(
            [str(self._binary), *words, "--namespace", self._namespace],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (told.returncode != 0) is fails, told.stderr + told.stdout
        return told.stdout + told.stderr if fails else told.stdout

    def apply(self, verb: str, *sets: str, server_side: bool = False) -> None:
        values = [word for one in sets for word in ("--set", one)]
        self.run(verb, "shop", str(self.chart), f"--server-side={str(server_side).lower()}", *values)

    def history(self) -> list[tuple[int, str, str]]:
        found = json.loads(self.run("history", "shop", "--output", "json"))
        return [(one["revision"], one["status"], one["description"]) for one in found]


class Dying(GatedCluster):
    """A cluster as one sees it who dies at the first change of an object."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, lambda: None, "", _anywhere)

    async def patch(
        self,
        ref: ObjectRef,
        body: Manifest,
        *,
        resource_version: str,
        strategic: bool = False,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        if not dry_run:
            raise StepError("the process died here")
        return await super().patch(
            ref,
            body,
            resource_version=resource_version,
            strategic=strategic,
            subresource=subresource,
            dry_run=dry_run,
        )


async def _anywhere(namespace: str, what: str) -> None:
    """Allow it."""


@pytest.fixture(scope="session")
def binary() -> Path:
    build = Build.current()
    Builder(build, Progress()).make(("helm",))
    return build.bin / "helm"


@pytest.fixture
def helm(binary: Path, cluster: LocalCluster, place: Place, tmp_path: Path) -> Helm:
    return Helm(binary, cluster.kubeconfig, place.namespace, tmp_path)


def wanted(**given: Any) -> HelmRollbackParameters:
    return HelmRollbackParameters.model_validate({"release": "shop", **given})


async def step(place: Place) -> StepContext:
    """Return the context of the step as it is once its intent is stored."""
    here, parameters = place.context(place.deployment("shop-api")), wanted()
    intent = await rollback.prepare(place.account(rollback.rights(None, parameters)), here, parameters)
    return replace(here, intent=intent)


def image(place: Place) -> str:
    return str(place.deployment("shop-api")["spec"]["template"]["spec"]["containers"][0]["image"])


def level(place: Place) -> str:
    return str(place.get("v1", "configmaps", "shop-settings")["data"]["level"])


async def upgraded(helm: Helm, place: Place) -> StepContext:
    helm.apply("install")
    helm.apply("upgrade", f"image={BAD}", "level=debug", "debug=true")
    assert (image(place), level(place)) == (BAD, "debug")
    place.settled("shop-api")
    return await step(place)


async def test_helm_takes_the_rollback_for_its_own_and_goes_on_from_it(helm: Helm, place: Place) -> None:
    here, parameters = await upgraded(helm, place), wanted()
    account = place.account(rollback.rights(None, parameters))
    done = await rollback.perform(account, here, parameters)
    assert done.outputs == {"from": 2, "to": 1, "revision": 3}
    assert (image(place), level(place)) == (GOOD, "info")
    assert "args" not in place.deployment("shop-api")["spec"]["template"]["spec"]["containers"][0]
    assert helm.history() == [
        (1, "superseded", "Install complete"),
        (2, "superseded", "Upgrade complete"),
        (3, "deployed", "Rollback to 1"),
    ]
    assert helm.run("get", "manifest", "shop") == helm.run("get", "manifest", "shop", "--revision", "1")
    assert json.loads(helm.run("status", "shop", "--output", "json"))["info"]["status"] == "deployed"
    assert (await rollback.perform(account, here, parameters)).changed == done.changed
    assert len(helm.history()) == 3
    helm.apply("upgrade", "level=warn")
    assert level(place) == "warn"
    assert helm.history()[-1][:2] == (4, "deployed")
    with pytest.raises(StepError, match="has revision 4 by now"):
        await rollback.undo(account, here, parameters)


async def test_after_undo_helm_sees_the_former_revision_deployed(helm: Helm, place: Place) -> None:
    here, parameters = await upgraded(helm, place), wanted()
    account = place.account(rollback.rights(None, parameters))
    await rollback.perform(account, here, parameters)
    assert (await rollback.undo(account, here, parameters)).acted
    assert (image(place), level(place)) == (BAD, "debug")
    assert [one[:2] for one in helm.history()] == [(1, "superseded"), (2, "deployed"), (3, "failed")]
    helm.run("rollback", "shop", "1", "--server-side=false")
    assert image(place) == GOOD
    assert helm.history()[-1] == (4, "deployed", "Rollback to 1")


async def test_the_same_rollback_by_helm_leaves_the_same_objects(helm: Helm, place: Place) -> None:
    here, parameters = await upgraded(helm, place), wanted()
    await rollback.perform(place.account(rollback.rights(None, parameters)), here, parameters)
    ours = place.settled("shop-api")["spec"], place.get("v1", "configmaps", "shop-settings")["data"]
    helm.run("uninstall", "shop")
    await_true(lambda: not place.items("apps/v1", "deployments"), "the release is not gone")
    await upgraded(helm, place)
    helm.run("rollback", "shop", "1", "--server-side=false")
    theirs = place.settled("shop-api")["spec"], place.get("v1", "configmaps", "shop-settings")["data"]
    assert ours == theirs


async def test_while_it_is_not_finished_helm_begins_no_upgrade(helm: Helm, place: Place) -> None:
    here, parameters = await upgraded(helm, place), wanted()
    rights = [one for one in rollback.rights(None, parameters) if str(one) != "patch configmaps"]
    account = place.account(rights)
    with pytest.raises(StepError):
        await rollback.perform(account, here, parameters)
    assert len(helm.history()) == 2, "it was begun though a right lacks"
    full = place.account(rollback.rights(None, parameters))
    with pytest.raises(StepError, match="died here"):
        await rollback.perform(Dying(full), here, parameters)
    assert helm.history()[-1][1] == "pending-rollback"
    told = helm.run("upgrade", "shop", str(helm.chart), "--server-side=false", fails=True)
    assert "in progress" in told
    await rollback.perform(full, here, parameters)
    assert (image(place), helm.history()[-1][1]) == (GOOD, "deployed")


async def test_a_release_that_helm_applies_on_the_servers_side_is_left_to_it(
    helm: Helm, place: Place
) -> None:
    helm.apply("install", server_side=True)
    helm.apply("upgrade", f"image={BAD}", server_side=True)
    with pytest.raises(StepError, match="takes their fields from Helm"):
        await step(place)
    assert len(helm.history()) == 2
