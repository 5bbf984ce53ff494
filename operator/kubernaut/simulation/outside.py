"""What is outside the cluster, as a simulation has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from kubernaut.core.ports import Cluster, HttpAnswer, HttpRequest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.shadow import Shadow

_ALERTMANAGER: Final = "http://alertmanager.invalid"


class SimulatedWeb:
    """Sends nothing; each request is assumed to be answered well."""

    alertmanager = _ALERTMANAGER

    def __init__(self, assumptions: Assumptions) -> None:
        self._assumptions = assumptions

    async def send(self, request: HttpRequest) -> HttpAnswer:
        host = urlsplit(request.url).hostname
        self._assumptions.say(
            f"the {request.method} request to {host} was not sent; its answer is assumed to be 200"
        )
        return HttpAnswer(200, b"{}")


class NothingSeen:
    """No memory of which ReplicaSets were ever available."""

    def __init__(self, assumptions: Assumptions) -> None:
        self._assumptions = assumptions

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        """Return none of them."""
        self._assumptions.say(
            "which revisions were available before the operator does know and this simulation does not"
        )
        return frozenset()


class OneAccount:
    """The same copy, whoever acts: rights are told apart from the simulation."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def own(self) -> Shadow:
        return self._shadow

    def as_account(self, namespace: str, service_account: str) -> Cluster:
        return self._shadow
