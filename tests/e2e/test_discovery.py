"""The analyst beside the operator, with the rights of its own ServiceAccount."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.rest import MERGE_PATCH
from e2e.test_features import features
from e2e.websteps import acting, note
from e2e.world import API, Place, World, until
from localrun.access import account_kubeconfig
from localrun.process import LocalProcess
from unit.argocd.customizations import FOLDER
from unit.argocd.customizations import run as run_script
from unit.argocd.test_kstatus import kstatus

PATTERNS = f"{API}/discoveredpatterns"
FAILS = acting("fails", patch={"metadata": {"labels": {"x": "y"}}}, expect={"spec.paused": True})


@pytest.fixture
def analyst(world: World, tmp_path: Path) -> Iterator[LocalProcess]:
    """An analyst that takes two runs for a pattern."""
    env = {
        "KUBERNAUT_KUBECONFIG": str(account_kubeconfig(world.cluster, "kubernaut-analyst", tmp_path)),
        "KUBERNAUT_DSN": world.postgres.dsn,
        "KUBERNAUT_ANALYST_INTERVAL": "1s",
        "KUBERNAUT_ANALYST_MIN_CLUSTER_SIZE": "2",
    }
    process = LocalProcess("kubernaut.analyst", env, tmp_path / "analyst.log")
    process.start()
    try:
        yield process
    finally:
        process.stop()
        features(world, discovery="on")


def patterns(world: World) -> list[dict[str, Any]]:
    answer = world.admin.request("GET", PATTERNS)
    if answer.status == 429:
        return []  # nobody has asked for this kind before: its storage is being made ready
    assert answer.ok, answer
    return list(answer.body["items"])


def said(world: World, kind: str) -> list[bool]:
    """Whether each pattern has a condition."""
    return [
        any(one["type"] == kind for one in pattern["status"].get("conditions", ()))
        for pattern in patterns(world)
        if "status" in pattern
    ]


def healths(world: World) -> set[tuple[str, str]]:
    """Return what Argo CD's script and kstatus' rules say of the patterns, in one word each."""
    script = (FOLDER / "DiscoveredPattern" / "health.lua").read_text()
    return {(run_script(script, pattern)["status"], kstatus(pattern)) for pattern in patterns(world)}


def test_patterns_say_that_discovery_is_off_and_go_on_when_it_is_on_again(
    place: Place, analyst: LocalProcess
) -> None:
    world = place.world
    place.workflow(note("fine"))
    place.workflow(FAILS, name="failing")
    runs = [place.run(f"run-{number}") for number in range(4)]
    runs += [place.run(f"bad-{number}", "failing") for number in range(4)]
    for run in runs:
        run.end()
    world.await_rows([run.uid for run in runs])
    until("there are patterns", lambda: said(world, "Ready"), 60)
    until("each is healthy", lambda: healths(world) == {("Healthy", "Current")})
    features(world, discovery="off")
    until("each says that discovery is off", lambda: (told := said(world, "FeatureOff")) and all(told), 30)
    assert healths(world) == {("Suspended", "Current")}
    assert analyst.running
    features(world, discovery="on")
    until("none says so any more", lambda: (told := said(world, "FeatureOff")) and not any(told), 30)
    for pattern in patterns(world):
        mute(world, pattern["metadata"])
    until("it is seen that they are muted", lambda: healths(world) == {("Suspended", "Current")})


def mute(world: World, meta: dict[str, Any]) -> None:
    """Mute a pattern, as a person does; until the analyst has seen that it is in progress."""
    path = f"{API}/namespaces/{meta['namespace']}/discoveredpatterns/{meta['name']}"
    answer = world.admin.request("PATCH", path, {"spec": {"muted": True}}, content_type=MERGE_PATCH)
    assert answer.ok, answer
    script = (FOLDER / "DiscoveredPattern" / "health.lua").read_text()
    assert run_script(script, answer.body)["status"] == "Progressing"
