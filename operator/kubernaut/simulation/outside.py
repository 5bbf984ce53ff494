"""What is outside the cluster, as a simulation has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from kubernaut.api.guards import PauseSync
from kubernaut.api.reasons import Reason
from kubernaut.core.guards.levels import span
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Cluster, HttpAnswer, HttpRequest, Manifest, ObjectRef
from kubernaut.core.run import MetricSeen
from kubernaut.engine.live import LiveRun
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


class SimulatedPauses:
    """Pauses no sync; says that it would be."""

    def __init__(self, signer: Signer, assumptions: Assumptions) -> None:
        self.signer = signer
        self._assumptions = assumptions

    async def pause(
        self, live: LiveRun, account: Cluster, said: Manifest, declared: PauseSync, argo_namespace: str
    ) -> str:
        """Tell for how long the sync of an owner would be paused."""
        ref = ObjectRef.of(said)
        self._assumptions.say(
            f"the account may patch {ref} to pause its sync, and nobody who keeps {ref} sets that back"
        )
        return f"the sync of {ref} would be paused for {span(declared.expires_after)}"


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


def unknown_metrics(queries: Iterable[str], now: datetime, assumptions: Assumptions) -> dict[str, MetricSeen]:
    """Return that of no metric is known what it will be; nothing is assumed, so the run ends as Inconclusive."""
    assumptions.say("no metric is known beforehand; a verdict that rests upon one is told as Inconclusive")
    told = "a simulation can't know what it will be"
    seen = MetricSeen(now, reason=Reason.METRIC_NOT_ASKED, told=told, again=False)
    return dict.fromkeys(queries, seen)


class OneAccount:
    """The same copy, whoever acts: that is noted, for rights are told apart from the simulation."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def own(self) -> Shadow:
        return self._shadow

    def as_account(self, namespace: str, service_account: str) -> Cluster:
        self._shadow.account = service_account
        return self._shadow
