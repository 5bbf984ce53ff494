"""One repair in one namespace: break it, see it broken, have it repaired, see it whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from demo.faults import Fault, Manifest
from demo.narrator import Narrator
from demo.world import World


@dataclass(frozen=True)
class Case:
    """A fault in a namespace."""

    fault: Fault
    namespace: str

    @property
    def run(self) -> str:
        return f"{self.fault.workflow}-1"

    def execution(self) -> Manifest:
        """Return the run that repairs it."""
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": self.run, "namespace": self.namespace},
            "spec": {
                "workflowRef": {"name": self.fault.workflow},
                "parameters": [{"name": "deployment", "value": "web"}],
                "trigger": {"type": "Manual", "reason": self.fault.told},
            },
        }


Holds = Callable[[Case, Manifest, list[Manifest]], bool]


class Batch:
    """Many cases side by side, looked at with one request a kind."""

    def __init__(self, world: World, narrator: Narrator, cases: list[Case]) -> None:
        self._world = world
        self._narrator = narrator
        self._cases = cases

    def prepare(self) -> None:
        """Make namespaces, accounts, Workflows and the good revisions; wait until all are available."""
        world, manifests = self._world, list[Manifest]()
        for case in self._cases:
            manifests += world.tenant(case.namespace)
            manifests.append(world.sample(case.fault.workflow, case.namespace))
        world.apply(manifests)
        world.apply([case.fault.good(case.namespace) for case in self._cases])
        self._until("the good revisions are available", _available)

    def break_all(self) -> None:
        """Break every Deployment, and wait until each is seen broken."""
        self._world.apply([case.fault.broken(case.namespace) for case in self._cases])

        def shows(case: Case, found: Manifest, pods: list[Manifest]) -> bool:
            return case.fault.shows(found, pods)

        self._until("every fault is to be seen in the cluster", shows)

    def run_all(self) -> list[Manifest]:
        """Start all runs at once; return them when all have finished."""
        self._world.apply([case.execution() for case in self._cases])
        wanted = {(case.namespace, case.run) for case in self._cases}

        def finished() -> list[Manifest] | None:
            runs = [
                run
                for run in self._world.get("workflowexecutions", "-A")
                if (run["metadata"]["namespace"], run["metadata"]["name"]) in wanted
            ]
            ended = [run for run in runs if run.get("status", {}).get("finishedAt")]
            return runs if len(ended) == len(wanted) else None

        return self._narrator.wait(f"{len(wanted)} runs finish", finished, 240)

    def _until(self, text: str, holds: Holds) -> None:
        todo = {case.namespace: case for case in self._cases}

        def look() -> bool:
            deployments = {d["metadata"]["namespace"]: d for d in self._world.get("deployments", "-A")}
            pods = defaultdict[str, list[Manifest]](list)
            for pod in self._world.get("pods", "-A"):
                pods[pod["metadata"]["namespace"]].append(pod)
            for namespace, case in list(todo.items()):
                found = deployments.get(namespace)
                if found and holds(case, found, pods[namespace]):
                    del todo[namespace]
            return not todo

        self._narrator.wait(text, look, 180, every=0.5)


def _available(_: Case, found: Manifest, pods: list[Manifest]) -> bool:
    status = found.get("status", {})
    wanted = found["spec"]["replicas"]
    current = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    return bool(current and status.get("availableReplicas") == wanted == len(pods))
