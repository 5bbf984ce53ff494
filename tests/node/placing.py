"""Namespaces on the real node in which actions are performed, one after another or side by side."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from apiserver.acting import Counting, Place
from apiserver.fidelity import Twin
from apiserver.rest import Client
from apiserver.scenarios.scenario import Foretold, Scenario, check_it_mends_once_and_puts_back
from kubernaut.core.action import StepContext
from localcluster import Cluster


@asynccontextmanager
async def placed(
    cluster: Cluster, acting: Path, labels: Mapping[str, str] | None = None
) -> AsyncIterator[Place]:
    """Make a namespace with these labels; it is deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with Client(cluster.kubeconfig) as admin:
        made = {"metadata": {"name": name, "labels": dict(labels or {})}}
        assert admin.request("POST", "/api/v1/namespaces", made).ok
        try:
            async with await Counting.load(acting) as connection:
                yield Place(admin, name, connection)
        finally:
            admin.request("DELETE", f"/api/v1/namespaces/{name}")


class Untold:
    """Nothing is told beforehand of how a step will come out."""

    async def tell(self, context: StepContext) -> None:
        """Tell nothing."""

    def check(self) -> None:
        """Demand nothing."""

    def check_undone(self) -> None:
        """Demand nothing."""


@contextmanager
def side_by_side(
    scenarios: Sequence[Scenario], cluster: Cluster, acting: Path, *, beyond: Collection[str] = ()
) -> Iterator[Mapping[str, Future[None]]]:
    """Have each action mend its fault, all at once; what comes of each by its name.

    They mostly wait for containers to start and end. Each has a thread, an event loop and a namespace of its own.
    A simulation, made before, has to have told how it comes out; but of actions that are ``beyond`` simulation here.
    """

    async def mend(scenario: Scenario) -> None:
        async with placed(cluster, acting) as place:
            told: Foretold = Untold() if scenario.action in beyond else Twin(scenario, place)
            await check_it_mends_once_and_puts_back(scenario, place, told)

    with ThreadPoolExecutor(len(scenarios)) as pool:
        yield {str(one): pool.submit(asyncio.run, mend(one)) for one in scenarios}
