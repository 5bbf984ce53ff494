"""Names for the shell to complete: what the cluster has. Where it does not answer at once, nothing is offered.

kubectl is asked where there is one: it starts in a fraction of the time that our own connection takes to load, knows
every way to log in, and has the list made small by the API server.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

# A person waits at the prompt meanwhile.
_SECONDS: Final = 2.0
_RESOURCES: Final = {
    "Workflow": "workflows",
    "WorkflowExecution": "workflowexecutions",
    "DiscoveredPattern": "discoveredpatterns",
}


def workflows(context: typer.Context, incomplete: str) -> list[str]:
    """Return the Workflows of the namespace."""
    return _starting(incomplete, _names(context, "Workflow"))


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of the namespace."""
    return _starting(incomplete, _names(context, "WorkflowExecution"))


def patterns(context: typer.Context, incomplete: str) -> list[str]:
    """Return the patterns, by default those of the analyst's namespace."""
    from kubernaut.api.names import SYSTEM_NAMESPACE

    return _starting(incomplete, _names(context, "DiscoveredPattern", namespace=SYSTEM_NAMESPACE))


def steps(context: typer.Context, incomplete: str) -> list[str]:
    """Return the steps of the run that was named before."""
    return _starting(incomplete, _names(context, "WorkflowExecution", str(context.params.get("name") or "")))


def namespaces(context: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces that may be listed; without kubectl none."""
    return _starting(incomplete, _told(_kubectl(_given(context), "get", "namespaces", "--no-headers")))


def contexts(context: typer.Context, incomplete: str) -> list[str]:
    """Return the contexts of the kubeconfig; without kubectl none."""
    given = {"kubeconfig": _given(context)["kubeconfig"]}
    return _starting(incomplete, _told(_kubectl(given, "config", "get-contexts", "-o", "name")))


def _starting(incomplete: str, names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _given(context: typer.Context) -> dict[str, str]:
    given = {key: str(context.params.get(key) or "") for key in ("kubeconfig", "context", "namespace")}
    if given["kubeconfig"]:
        given["kubeconfig"] = str(Path(given["kubeconfig"]).expanduser())
    return given


def _names(context: typer.Context, kind: str, run: str = "", namespace: str = "") -> list[str]:
    from kubernaut.api.names import GROUP, VERSION

    given = _given(context)
    given["namespace"] = given["namespace"] or namespace
    if not shutil.which("kubectl"):
        return _by_ourselves(given, kind, run)
    resource = f"{_RESOURCES[kind]}.{VERSION}.{GROUP}"
    if run:
        told = _kubectl(given, "get", resource, "-o", "jsonpath={.status.steps[*].name}", "--", run)
        return told.split()
    # The table, and not `-o name`, for which kubectl would fetch every object whole.
    return _told(_kubectl(given, "get", resource, "--no-headers"))


def _told(table: str) -> list[str]:
    return [line.split(maxsplit=1)[0] for line in table.splitlines() if line.strip()]


def _kubectl(given: dict[str, str], *arguments: str) -> str:
    """Return what kubectl prints; nothing where it fails, for a prompt is no place to tell why."""
    options = [f"--{key}={value}" for key, value in given.items() if value]
    command = ["kubectl", f"--request-timeout={_SECONDS:g}s", *options, *arguments]
    try:
        # Without a stdin, so that nothing that logs people in waits for an answer at the prompt.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _by_ourselves(given: dict[str, str], kind: str, run: str) -> list[str]:
    from kubernaut.api.names import API_VERSION
    from kubernaut.cli.errors import CliError
    from kubernaut.cli.place import Place, within
    from kubernaut.core.errors import KubernautError
    from kubernaut.core.ports import ObjectRef

    found: list[str] = []

    async def asked(place: Place) -> int:
        async with asyncio.timeout(_SECONDS):
            if run:
                one = await place.cluster.get(ObjectRef(API_VERSION, kind, place.namespace, run))
                found.extend(step["name"] for step in (one.get("status") or {}).get("steps") or [])
            else:
                listed = await place.cluster.list(API_VERSION, kind, place.namespace)
                found.extend(item["metadata"]["name"] for item in listed)
        return 0

    try:
        within(given["kubeconfig"], given["context"], given["namespace"], asked)
    except (KubernautError, CliError, OSError):
        return []  # a prompt is no place to tell it
    return found
