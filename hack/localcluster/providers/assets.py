"""Ready-made etcd and kube-apiserver in ``KUBEBUILDER_ASSETS``: an API server, and nothing that acts on objects."""

from __future__ import annotations

import os
from pathlib import Path

from localcluster import local
from localcluster.errors import ClusterError
from localcluster.progress import Progress
from localcluster.request import Request
from localcluster.state import State

VARIABLE = "KUBEBUILDER_ASSETS"
_WANTED = ("etcd", "kube-apiserver", "kubectl")


class Assets:
    name = "assets"

    def usable(self, request: Request) -> bool:
        folder = os.environ.get(VARIABLE)
        return bool(folder) and all((Path(folder or "") / name).is_file() for name in _WANTED)

    def up(self, request: Request, progress: Progress) -> State:
        if request.nodes != "auto":
            raise ClusterError(
                f"{VARIABLE} holds no kubelet and no kwok, so --nodes {request.nodes} can't be had: "
                f"unset {VARIABLE} to build a whole cluster"
            )
        progress.say(
            f"  using {VARIABLE}: API server and etcd only. Nothing will roll out Deployments, run pods, collect "
            "garbage or create default ServiceAccounts"
        )
        programs = local.Programs(Path(os.environ[VARIABLE]).absolute())
        launcher = local.Launcher(request, "assets", programs, progress)
        return launcher.launch("none", f"{VARIABLE} has a control plane without controllers, and no node")

    def down(self, state: State) -> None:
        local.stop(state)

    def load_image(self, state: State, archive: str) -> None:
        raise ClusterError(f"cluster {state.name} has no real node to load {archive} into")
