"""A second real node: containerd, kubelet and kube-proxy of its own, in a network namespace of its own.

Linked to the first one's by a veth pair, so that pods of both reach each other and the API server, and pods that are
drained from one have somewhere to go.
"""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from pathlib import Path

from localcluster import cgroups, local, network, node, pki, process
from localcluster.build import Build
from localcluster.network import Block
from localcluster.paths import ClusterPaths
from localcluster.state import Component, SecondNode, State

NUMBER = 2
COMPONENT = local.SECOND_NODE


def start(state: State) -> str:
    """Start it where it does not run; return its name when it is Ready.

    Raises:
        ClusterError: it was not Ready in time; says why, and nothing of it is left.
    """
    if state.second_node is not None:
        boot(state)
        return state.second_node.name
    assert state.block is not None
    assert state.holder is not None
    paths = ClusterPaths.of(state.name)
    second = SecondNode(f"{state.name}-node-{NUMBER}")
    try:
        second.holder = network.create_second(
            Block(state.block), state.holder, paths.logs / "namespace-2.log"
        )
        state.second_node = second
        state.save(paths)
        state.components[COMPONENT] = Component(_configure(state, paths, second.name))
        boot(state)
    except BaseException:
        stop(state)
        raise
    return second.name


def _configure(state: State, paths: ClusterPaths, name: str) -> list[str]:
    """Write certificates and configuration; return the command of its init."""
    assert state.block is not None
    cni = Build(Path(state.bin).parent).part("node") / "cni"
    shape = node.Node(state.name, name, paths, Path(state.bin), cni, Block(state.block), state.server, NUMBER)
    for leaf in pki.node_leaves(shape.user, name, shape.address):
        pki.sign(paths.pki, leaf)
    kubeconfig = paths.config / f"{shape.user}.kubeconfig"
    pki.write_kubeconfig(kubeconfig, paths.pki, shape.user, state.server, f"kubernaut-{state.name}")
    shape.home.mkdir()
    shape.write(node.snapshotter(shape.home))
    # The control plane is there already: nothing to wait for.
    (shape.home / "start").touch()
    return shape.command()


def boot(state: State) -> None:
    """Start what is down, and wait until it is Ready anew."""
    second = state.second_node
    assert second is not None
    component = state.components[COMPONENT]
    if component.running:
        return
    client = local.client_of(state)
    before = local.heartbeat(client, second.name)
    cgroups.create(cgroups.group_name(state.name, NUMBER))
    local.start_component(state, COMPONENT)
    assert component.process
    second.init = process.child_of(component.process)
    state.save(ClusterPaths.of(state.name))
    ready = partial(local.node_ready, client, second.name, newer_than=before)
    local.wait(state, f"node {second.name}", ready, needs=(*local.STORES, COMPONENT))


def stop(state: State) -> None:
    """End it and take everything of it away, its Node object too; the cluster stays."""
    second, component = state.second_node, state.components.pop(COMPONENT, None)
    if second is None:
        return
    process.kill(second.init)
    process.kill(component.process if component else None)
    network.destroy_second(state.holder, second.holder)
    cgroups.remove(cgroups.group_name(state.name, NUMBER))
    paths = ClusterPaths.of(state.name)
    # Its logs stay: they tell why it did not get Ready.
    shutil.rmtree(paths.second_node, ignore_errors=True)
    # Without an API server there is nobody left who would miss it.
    with contextlib.suppress(OSError):
        local.client_of(state).call("DELETE", f"/api/v1/nodes/{second.name}")
    state.second_node = None
    state.save(paths)
