"""Alertmanager connected to what the chart installed, by what docs/alerts.md shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from apiserver.acting import await_true
from chart_overlays import ROOT
from localcluster import Cluster
from node.walk import Typed, type_again, walk

HEADING = "In five steps, with the chart"
_FORWARD = "kubectl port-forward "
Manifest = dict[str, Any]


def steps_of_alerts() -> str:
    """Return the page of alerts, with what stands in its lists moved to the margin."""
    return re.sub(r"^ {3}", "", (ROOT / "docs" / "alerts.md").read_text(), flags=re.MULTILINE)


def first_workflow() -> Manifest:
    """Return the Workflow that its page ends with: as shown there, with trigger and time-out."""
    text = (ROOT / "docs" / "first-workflow.md").read_text()
    blocks = [
        yaml.safe_load(one) for one in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    (made,) = [one for one in blocks if "kind" in one]
    (trigger,) = [one for one in blocks if "triggers" in one]
    (timeout,) = re.findall(r"`timeout: (\w+)`", text)
    made["spec"] |= trigger
    made["spec"]["verify"]["timeout"] = timeout
    found: Manifest = made
    return found


def connect(cluster: Cluster, folder: Path, environment: Mapping[str, str]) -> Manifest:
    """Type the five steps again, in a folder; end the alert, and return the run that it started."""
    page = steps_of_alerts()
    consoles = walk(page, HEADING)
    alert = re.search(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert alert
    (folder / "charts").symlink_to(ROOT / "charts")
    (folder / "alert.json").write_text(alert[1])
    cluster.run_kubectl("create", "namespace", "monitoring")
    *setting_up, trying = consoles
    for typed in (typed for console in setting_up for typed in console):
        type_again(typed, folder, environment)
    cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(first_workflow()))
    cluster.run_kubectl("wait", "kwf/web-image", "-n", "shop", "--for=condition=Ready", "--timeout=30s")
    forward, tell, *looks = trying
    assert forward.command.startswith(_FORWARD)
    assert tell.command.startswith("curl ")
    with forwarded(forward, folder, environment):
        type_again(tell, folder, environment)
        await_true(
            lambda: started(cluster).get("status", {}).get("phase") == "Verifying", "it is not verified"
        )
        for look in looks:
            type_again(look, folder, environment)
        body = json.loads((folder / "alert.json").read_text())
        body["alerts"][0] |= {"status": "resolved", "endsAt": datetime.now(UTC).isoformat()}
        (folder / "alert.json").write_text(json.dumps(body))
        type_again(Typed(tell.command, ['{"alerts": {"resolved": 1}, "problems": []}']), folder, environment)
        refused = tell.command.replace("$(cat token)", "not-the-one-of-the-secret")
        type_again(Typed(refused, ['{"error": "a valid bearer token is needed"}']), folder, environment)
    await_true(lambda: "finishedAt" in started(cluster).get("status", {}), "the run does not end")
    return started(cluster)


def started(cluster: Cluster) -> Manifest:
    """Return the one run that alerts started."""
    runs = json.loads(cluster.run_kubectl("get", "kwfe", "-n", "shop", "-o", "json"))["items"]
    (found,) = [one for one in runs if one["spec"]["workflowRef"]["name"] == "web-image"]
    run: Manifest = found
    return run


@contextmanager
def forwarded(typed: Typed, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Have a port forwarded meanwhile, which the page leaves running behind what follows."""
    command = typed.command.removesuffix("&")
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout
            assert "Forwarding from" in running.stdout.readline()
            yield
        finally:
            running.terminate()
