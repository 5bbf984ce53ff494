"""A cluster that somebody else runs, by an explicit kubeconfig.

A bare ``$KUBECONFIG`` is not picked up: a demo that breaks Deployments must never land on somebody's production
context by accident.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from localcluster.build import Build
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths
from localcluster.process import run
from localcluster.progress import Progress
from localcluster.request import Request
from localcluster.state import State

VARIABLE = "KUBERNAUT_KUBECONFIG"


def given_kubeconfig(request: Request, env: Mapping[str, str] = os.environ) -> Path | None:
    """The kubeconfig that was given by flag or environment, None if none was."""
    text = request.kubeconfig or env.get(VARIABLE)
    return Path(text).absolute() if text else None


def find_kubectl() -> str:
    """kubectl from the PATH, else from an earlier build.

    Raises:
        ClusterError: neither has one.
    """
    built = Build.current().bin / "kubectl"
    found = shutil.which("kubectl") or (str(built) if built.is_file() else None)
    if found is None:
        raise ClusterError(
            "kubectl is not in PATH: install it, or run `python3 hack/localcluster build --control-only`"
        )
    return found


class Given:
    name = "given"

    def usable(self, request: Request) -> bool:
        return given_kubeconfig(request) is not None

    def up(self, request: Request, progress: Progress) -> State:
        kubeconfig = given_kubeconfig(request)
        if kubeconfig is None or not kubeconfig.is_file():
            raise ClusterError(f"kubeconfig {kubeconfig} does not exist (given by flag or {VARIABLE})")
        kubectl = find_kubectl()
        with progress.step(f"looking at the cluster of {kubeconfig}"):
            ask = [kubectl, f"--kubeconfig={kubeconfig}", "--request-timeout=10s", "get", "--raw"]
            run([*ask, "/readyz"])
        state = State(
            request.name,
            "given",
            str(kubeconfig),
            kubectl,
            bin=str(Path(kubectl).parent),
            nodes="external",
            why="the cluster was given; its nodes are its owner's business",
        )
        state.save(ClusterPaths.of(request.name))
        return state

    def down(self, state: State) -> None:
        """Forget it; the cluster itself is not ours to stop."""
        shutil.rmtree(ClusterPaths.of(state.name).root, ignore_errors=True)

    def load_image(self, state: State, archive: str) -> None:
        raise ClusterError(
            f"cluster {state.name} was given by kubeconfig: push {archive} to a registry it can reach"
        )
