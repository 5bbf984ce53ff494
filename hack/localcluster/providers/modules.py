"""Kubernetes built from its Go modules: the whole control plane, and a real node where this machine allows one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from localcluster import local, node
from localcluster.build import CONTROL_PARTS, NODE_PARTS, Build, Builder
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths
from localcluster.progress import Progress
from localcluster.request import Request
from localcluster.state import Nodes, State


class Modules:
    name = "modules"

    def usable(self, request: Request) -> bool:
        return sys.platform.startswith("linux")

    def up(self, request: Request, progress: Progress) -> State:
        build = Build.current()
        nodes, why = self._nodes(request, build, progress)
        system = build.part("system")
        programs = local.Programs(
            build.bin,
            cni=build.part("node") / "cni",
            images=system / "images",
            stages=build.part("kube") / "kwok-stages.yaml",
        )
        return local.Launcher(request, "modules", programs, progress).launch(nodes, why)

    def _nodes(self, request: Request, build: Build, progress: Progress) -> tuple[Nodes, str]:
        builder = Builder(build, progress)
        obstacle = node.obstacle() if request.nodes != "kwok" else None
        wants_real = request.nodes != "kwok" and obstacle is None
        builder.make((*CONTROL_PARTS, *NODE_PARTS) if wants_real else CONTROL_PARTS)
        if wants_real:
            obstacle = build.missing_for_node() or node.nftables_obstacle(build.bin / "nft")
        if request.nodes == "kwok":
            return "kwok", "simulated nodes were asked for"
        if obstacle is None:
            return "real", "this machine can run containers"
        if request.nodes == "real":
            raise ClusterError(
                f"a real node can't run here: {obstacle}. Take --nodes kwok for simulated ones"
            )
        progress.say(f"  no real node here ({obstacle}): kwok simulates one, containers will not really run")
        return "kwok", f"no real node: {obstacle}"

    def down(self, state: State) -> None:
        local.stop(state)

    def load_image(self, state: State, archive: str) -> None:
        """Import into the running node, and keep a copy for when the node comes back from a failure."""
        if state.nodes != "real":
            raise ClusterError(f"cluster {state.name} has no real node to load {archive} into ({state.why})")
        source = Path(archive)
        if not source.is_file():
            raise ClusterError(f"image archive {archive} does not exist")
        kept = ClusterPaths.of(state.name).images / source.name
        if kept.resolve() != source.resolve():
            shutil.copy2(source, kept)
        if state.node_init is None:
            return
        enter = ["nsenter", f"--mount=/proc/{state.node_init.pid}/ns/mnt", "--", str(Path(state.bin) / "ctr")]
        command = [*enter, "-a", node.CONTAINERD_SOCKET, *node.IMPORT, str(kept)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            kept.unlink(missing_ok=True)
            raise ClusterError(f"containerd refused image archive {archive}: {done.stderr.strip()}")
