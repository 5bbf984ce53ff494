"""What is remembered of a running cluster, as JSON in its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths, write_atomically
from localcluster.process import ProcessId, alive

Provider = Literal["given", "kind", "assets", "modules"]
Nodes = Literal["real", "kwok", "none", "external"]


@dataclass
class Component:
    """One background process: how it was started, and who it is if it was."""

    argv: list[str]
    process: ProcessId | None = None

    @property
    def running(self) -> bool:
        return alive(self.process)


@dataclass
class SecondNode:
    """A second real node: who holds its network namespace open, and its process 1."""

    name: str
    holder: ProcessId | None = None
    init: ProcessId | None = None


@dataclass
class State:
    """One cluster.

    ``block`` is its address block, None on loopback; ``why`` says why it got these nodes; ``starting`` stays
    true when whoever brought it up was killed half-way.
    """

    name: str
    provider: Provider
    kubeconfig: str
    kubectl: str
    bin: str = ""
    nodes: Nodes = "none"
    why: str = ""
    starting: bool = False
    server: str = ""
    audit_log: str | None = None
    node_name: str | None = None
    block: int | None = None
    holder: ProcessId | None = None
    node_init: ProcessId | None = None
    second_node: SecondNode | None = None
    components: dict[str, Component] = field(default_factory=dict)

    def save(self, paths: ClusterPaths) -> None:
        paths.root.mkdir(parents=True, exist_ok=True)
        write_atomically(paths.state, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, paths: ClusterPaths) -> State | None:
        """The stored state, None if this cluster was never started.

        Raises:
            ClusterError: the file is not what this version writes.
        """
        try:
            document: dict[str, Any] = json.loads(paths.state.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ClusterError(f"{paths.state} is damaged ({error}): remove {paths.root} by hand") from error
        try:
            document["holder"] = _process(document.get("holder"))
            document["node_init"] = _process(document.get("node_init"))
            if second := document.get("second_node"):
                holder, init = _process(second["holder"]), _process(second["init"])
                document["second_node"] = SecondNode(second["name"], holder, init)
            document["components"] = {
                name: Component(value["argv"], _process(value["process"]))
                for name, value in document["components"].items()
            }
            known = {each.name for each in fields(cls)}
            return cls(**{key: value for key, value in document.items() if key in known})
        except (KeyError, TypeError) as error:
            raise ClusterError(
                f"{paths.state} was written by another version ({error!r}): take the cluster down with that one"
            ) from error


def _process(value: dict[str, Any] | None) -> ProcessId | None:
    return ProcessId(**value) if value else None
