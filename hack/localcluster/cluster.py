"""The Python face of a local cluster, for tests, benchmarks and the demo."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from localcluster import images, local, metrics, process, providers, second, second_node, uses
from localcluster.audit import Level
from localcluster.errors import ClusterError
from localcluster.network import Block, inside
from localcluster.paths import ClusterPaths, check_name, cluster_names, locked, state_root
from localcluster.progress import Progress
from localcluster.providers.given import given_kubeconfig
from localcluster.request import NodeChoice, Request
from localcluster.state import Component, State

DEFAULT_NAME = "kubernaut"


@contextmanager
def _alone(name: str, progress: Progress | None = None) -> Iterator[None]:
    """Only one command at a time works on a cluster; its lock file goes when the cluster is gone."""
    file = state_root() / "locks" / f"{check_name(name)}.lock"
    progress = progress or Progress()
    with locked(file, waiting=lambda: progress.step(f"waiting for another command on cluster {name}")):
        try:
            yield
        finally:
            if not ClusterPaths.of(name).state.exists():
                file.unlink(missing_ok=True)


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
        with _alone(name, progress):
            known = State.load(ClusterPaths.of(name))
            if known is not None and _fits(known, request, progress) and _revive(known, progress):
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
                f"there is no cluster {name} (there is: {others}): "
                f"start it with `python3 hack/localcluster up --name {name}`"
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
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments]
        return process.run(command, stdin=stdin, env=self.client_environment())

    def client_environment(self) -> dict[str, str]:
        """The caller's environment for a client of this cluster: KUBECONFIG, and no proxy in between."""
        host = urlsplit(self._state.server).hostname
        direct = [text for text in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), host) if text]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        if direct:
            environment["NO_PROXY"] = environment["no_proxy"] = ",".join(direct)
        return environment

    def load_image(self, archive: Path) -> None:
        """Make the images of an OCI archive known to the real node."""
        providers.of(self._state).load_image(self._state, str(archive))

    def in_network(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command inside the cluster's network namespace (for tests with ``tc`` and ``ip``)."""
        if self._state.holder is None:
            raise ClusterError(f"cluster {self.name} has no network namespace of its own")
        return subprocess.run(
            [*inside(self._state.holder), *argv], capture_output=True, text=True, check=False
        )

    def stop(self, component: str, *, pause: bool = False) -> None:
        """SIGKILL a component of the control plane, or freeze it (SIGSTOP) with ``pause``; the rest runs on."""
        with self._changing():
            part = self._component(component)
            if pause:
                process.send(part.process, signal.SIGSTOP)
                return
            process.kill(part.process)

    def start(self, component: str) -> None:
        """Undo ``stop``. Returns when the API server is ready again, if it was that one."""
        with self._changing():
            self._component(component)
            local.start_component(self._state, component)
            if component in local.STORES:
                local.wait(self._state, component, local.client_of(self._state).ready)

    def restart_watching(self) -> None:
        """Start the clients of an API server that was away anew: by themselves they wait up to a minute."""
        for component in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self.stop(component)
            self.start(component)

    def second_apiserver(self) -> str:
        """Start a second API server on the same etcd; return its URL.

        ``stop("etcd-link", pause=True)`` freezes it with what it last saw, ``start("etcd-link")`` lets it go.
        """
        with self._changing():
            return second.start(self._state)

    def second_node(self) -> str:
        """Start a second real node in a network namespace of its own; return its name when it is Ready.

        Raises:
            ClusterError: the first one is not real, or the second did not get Ready; nothing of it is left then.
        """
        with self._changing():
            self._require_node()
            return second_node.start(self._state)

    def remove_second_node(self) -> None:
        """End the second node and take everything of it away, if there is one; the cluster stays."""
        with self._changing():
            second_node.stop(self._state)

    def metrics(self, progress: Progress | None = None) -> None:
        """Start metrics-server, which is built the first time; return when it serves the usage of the real nodes.

        Raises:
            ClusterError: there is no real node, whose kubelet could be asked, or it serves nothing in time.
        """
        with self._changing():
            self._require_node()
            metrics.start(self._state, progress or Progress())

    def node_down(self) -> None:
        """Pull the real node's plug; the control plane has to notice by itself (about 50 s)."""
        with self._changing():
            self._require_node()
            local.stop_node(self._state)
            self._state.save(ClusterPaths.of(self.name))

    def node_up(self) -> None:
        """Boot the real node again, with the disk it had; returns when it is Ready."""
        with self._changing():
            self._require_node()
            if self._state.components["node"].running:
                return
            local.boot_node(self._state)

    def down(self) -> None:
        """Stop it and leave nothing behind. Safe to repeat."""
        with _alone(self.name):
            state = State.load(ClusterPaths.of(self.name))
            if state is not None:
                uses.leave(Path(state.audit_log) if state.audit_log else None, self.name)
                providers.of(state).down(state)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the cluster for oneself, knowing what others did to it meanwhile."""
        with _alone(self.name):
            self._state = State.load(ClusterPaths.of(self.name)) or self._state
            yield

    def _component(self, name: str) -> Component:
        if name == "node" or name not in self._state.components:
            known = ", ".join(key for key in self._state.components if key != "node") or "none of ours"
            raise ClusterError(f"cluster {self.name} has no component {name}: it has {known}")
        return self._state.components[name]

    def _require_node(self) -> None:
        if "node" not in self._state.components:
            raise ClusterError(f"cluster {self.name} has no real node of ours ({self._state.why})")


def _fits(state: State, request: Request, progress: Progress) -> bool:
    """Whether the known cluster is what is asked for; False (and forgotten) for one that only was given earlier.

    Raises:
        ClusterError: it is another kind of cluster, which nobody said may be taken down.
    """
    given = given_kubeconfig(request)
    if state.provider == "given":
        if given == Path(state.kubeconfig):
            return True
        progress.say(f"  forgetting that cluster {state.name} was {state.kubeconfig}")
        providers.of(state).down(state)
        return False
    wrong = ""
    if given is not None:
        wrong = f"is not the cluster of {given}"
    elif request.nodes not in ("auto", state.nodes):
        wrong = f"has {state.nodes} nodes, not {request.nodes} ones ({state.why})"
    if wrong:
        raise ClusterError(
            f"there is a cluster {state.name} already, and it {wrong}: take it down or use another --name"
        )
    return True


def _revive(state: State, progress: Progress) -> bool:
    """Bring a known cluster back to health; False (and cleaned away) if only a new start can help."""
    if state.provider in ("given", "kind"):
        return True
    held = not state.starting and (state.block is None or process.alive(state.holder))
    dead = [name for name, component in state.components.items() if not component.running]
    if not held or len(dead) == len(state.components):
        progress.say(f"  cluster {state.name} is not running as a whole: clearing its remains away")
        local.stop(state)
        return False
    for component in state.components.values():
        process.send(component.process, signal.SIGCONT)
    client = local.client_of(state)
    # in the order of their start: the controllers can't do without an API server
    for name in (
        *(name for name in local.STORES if name in dead),
        *(name for name in dead if name not in local.STORES),
    ):
        progress.say(f"  {name} of cluster {state.name} was not running: starting it")
        if name in ("node", local.SECOND_NODE):
            (local.boot_node if name == "node" else second_node.boot)(state)
            continue
        local.start_component(state, name)
        if name == "kube-apiserver":
            local.wait(state, name, client.ready)
    local.wait(state, "kube-apiserver", client.ready)
    return True
