"""The Python face of a local cluster, for tests, benchmarks and the demo."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcluster import images, local, process, providers
from localcluster.audit import Level
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths, check_name, cluster_names, locked, state_root
from localcluster.progress import Progress
from localcluster.request import NodeChoice, Request
from localcluster.state import State

DEFAULT_NAME = "kubernaut"


def _lock(name: str) -> Path:
    return state_root() / "locks" / f"{check_name(name)}.lock"


class Cluster:
    """A cluster that is up, or was. Several may be up side by side under different names."""

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        *,
        nodes: NodeChoice = "auto",
        kubeconfig: Path | None = None,
        audit: Level = "full",
        fsync: bool = False,
        kwok_nodes: int | None = None,
        progress: Progress | None = None,
    ) -> Cluster:
        """Bring the cluster up, or find it up; components of it that died are started again.

        Raises:
            ClusterError: it could not be had; says why, and nothing of it is left behind.
        """
        progress = progress or Progress()
        request = Request(name, nodes, kubeconfig, audit, fsync, kwok_nodes)
        busy = f"waiting for another command on cluster {name}"
        with locked(_lock(name), waiting=lambda: progress.step(busy)):
            known = State.load(ClusterPaths.of(name))
            if known is not None and _revive(known, progress):
                return cls(known)
            return cls(providers.choose(request).up(request, progress))

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Cluster:
        """The cluster of that name.

        Raises:
            ClusterError: there is none.
        """
        state = State.load(ClusterPaths.of(name))
        if state is None:
            others = ", ".join(cluster_names()) or "none at all"
            raise ClusterError(
                f"there is no cluster {name} (there is: {others}): start it with `python3 hack/localcluster up --name {name}`"
            )
        return cls(state)

    @property
    def state(self) -> State:
        return self._state

    @property
    def name(self) -> str:
        return self._state.name

    @property
    def kubeconfig(self) -> Path:
        return Path(self._state.kubeconfig)

    @property
    def kubectl(self) -> Path:
        return Path(self._state.kubectl)

    @property
    def audit_log(self) -> Path | None:
        """JSON lines, one event each; None where there is none to read."""
        return Path(self._state.audit_log) if self._state.audit_log else None

    @property
    def has_real_node(self) -> bool:
        """Containers really run. Of a given cluster it is assumed."""
        return self._state.nodes in ("real", "external")

    @property
    def host_address(self) -> str | None:
        """Where a pod reaches a server that listens on this machine; None where that is not known."""
        from localcluster.network import Block

        return Block(self._state.block).host if self._state.block is not None else None

    def real_image(self, name: str) -> str:
        """Image reference of ``name`` (``busybox``, ``pause``) that this cluster's nodes can run.

        Raises:
            ClusterError: there is no such image.
        """
        known = {"busybox": images.BUSYBOX, "pause": images.PAUSE}
        if self._state.provider == "given":
            known = {"busybox": "busybox:1.37"}
        if name not in known:
            raise ClusterError(f"no image {name!r} in cluster {self.name}: there is {', '.join(known)}")
        return known[name]

    def run_kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl as cluster admin; returns stdout.

        Raises:
            ClusterError: it exited non-zero.
        """
        return process.run([str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments], stdin=stdin)

    def load_image(self, archive: Path) -> None:
        """Make the images of an OCI archive known to the real node."""
        providers.of(self._state).load_image(self._state, str(archive))

    def in_network(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command inside the cluster's network namespace (for tests with ``tc`` and ``ip``)."""
        if self._state.holder is None:
            raise ClusterError(f"cluster {self.name} has no network namespace of its own")
        from localcluster.network import inside

        return subprocess.run([*inside(self._state.holder), *argv], capture_output=True, text=True, check=False)

    def stop(self, component: str, *, pause: bool = False) -> None:
        """SIGKILL a component of the control plane, or freeze it (SIGSTOP) with ``pause``; the rest runs on."""
        with locked(_lock(self.name)):
            part = self._component(component)
            if pause:
                process.send(part.process, signal.SIGSTOP)
                return
            process.kill(part.process)

    def start(self, component: str) -> None:
        """Undo ``stop``. Returns when the API server is ready again, if it was that one."""
        with locked(_lock(self.name)):
            self._component(component)
            local.start_component(self._state, component)
            if component in ("etcd", "kube-apiserver"):
                local.wait(self._state, component, local.client_of(self._state).ready)

    def node_down(self) -> None:
        """Pull the real node's plug; the control plane has to notice by itself (about 50 s)."""
        with locked(_lock(self.name)):
            self._require_node()
            local.stop_node(self._state)
            self._state.save(ClusterPaths.of(self.name))

    def node_up(self) -> None:
        """Boot the real node again, with the disk it had; returns when it is Ready."""
        with locked(_lock(self.name)):
            self._require_node()
            if self._state.components["node"].running:
                return
            before = local.heartbeat(local.client_of(self._state), self._state.node_name or "")
            local.start_node(self._state)
            local.await_node(self._state, newer_than=before)

    def down(self) -> None:
        """Stop it and leave nothing behind. Safe to repeat."""
        with locked(_lock(self.name), remove=True):
            state = State.load(ClusterPaths.of(self.name))
            if state is not None:
                providers.of(state).down(state)

    def _component(self, name: str) -> local.Component:
        if name == "node" or name not in self._state.components:
            known = ", ".join(key for key in self._state.components if key != "node") or "none of ours"
            raise ClusterError(f"cluster {self.name} has no component {name}: it has {known}")
        return self._state.components[name]

    def _require_node(self) -> None:
        if "node" not in self._state.components:
            raise ClusterError(f"cluster {self.name} has no real node of ours ({self._state.why})")


def _revive(state: State, progress: Progress) -> bool:
    """Bring a known cluster back to health; False (and cleaned away) if only a new start can help."""
    if state.provider in ("given", "kind"):
        return True
    held = state.block is None or process.alive(state.holder)
    dead = [name for name, component in state.components.items() if not component.running]
    if not held or not state.components or len(dead) == len(state.components):
        progress.say(f"  cluster {state.name} is not running any more: clearing its remains away")
        local.stop(state)
        return False
    for name in dead:
        progress.say(f"  {name} of cluster {state.name} was not running: starting it")
        local.start_node(state) if name == "node" else local.start_component(state, name)
    for component in state.components.values():
        process.send(component.process, signal.SIGCONT)
    local.wait(state, "kube-apiserver", local.client_of(state).ready)
    return True
