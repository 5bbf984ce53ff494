"""Names for the shell to complete: what the cluster has. Where it does not answer at once, nothing is offered."""

from __future__ import annotations

import asyncio
from typing import Final

import typer

# A person waits at the prompt meanwhile.
_SECONDS: Final = 2.0


def workflows(context: typer.Context, incomplete: str) -> list[str]:
    """Return the Workflows of the namespace."""
    return _starting(incomplete, _names(context, "Workflow"))


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of the namespace."""
    return _starting(incomplete, _names(context, "WorkflowExecution"))


def steps(context: typer.Context, incomplete: str) -> list[str]:
    """Return the steps of the run that was named before."""
    return _starting(incomplete, _names(context, "WorkflowExecution", str(context.params.get("name") or "")))


def _starting(incomplete: str, names: list[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _names(context: typer.Context, kind: str, run: str = "") -> list[str]:
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

    given = {key: str(context.params.get(key) or "") for key in ("kubeconfig", "context", "namespace")}
    try:
        within(given["kubeconfig"], given["context"], given["namespace"], asked)
    except (KubernautError, CliError, OSError):
        return []  # a prompt is no place to tell it
    return found
