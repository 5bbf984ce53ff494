"""CRDs of others, out of their own Go modules: what is made here for their controllers is held against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from localcluster.process import run
from localcluster.progress import Progress
from localcluster.toolchain import find_go, go_environment

_HERE: Final = Path(__file__).resolve().parent


def cloudnativepg() -> Path:
    """Return the file with the CRD of CloudNativePG's ``Cluster``.

    Raises:
        localcluster.errors.ClusterError: there is no Go, or the module can't be had.
    """
    folder = _module("CloudNativePG", "github.com/cloudnative-pg/cloudnative-pg")
    return folder / "config" / "crd" / "bases" / "postgresql.cnpg.io_clusters.yaml"


def argocd() -> list[Path]:
    """Return the files with the CRDs of Argo CD's ``Application`` and ``AppProject``.

    Raises:
        localcluster.errors.ClusterError: there is no Go, or the module can't be had.
    """
    folder = _module("Argo CD", "github.com/argoproj/argo-cd/v3") / "manifests" / "crds"
    return [folder / "application-crd.yaml", folder / "appproject-crd.yaml"]


def flux() -> Path:
    """Return the file with the CRD of Flux's ``Kustomization``.

    Raises:
        localcluster.errors.ClusterError: there is no Go, or the module can't be had.
    """
    folder = _module("Flux", "github.com/fluxcd/kustomize-controller")
    return folder / "config" / "crd" / "bases" / "kustomize.toolkit.fluxcd.io_kustomizations.yaml"


def _module(whose: str, path: str) -> Path:
    """Return the folder of a module; it is downloaded into Go's own cache at the first use."""
    progress = Progress()
    command = [find_go(progress), "mod", "download", "-json", path]
    with progress.step(f"{whose}'s CRDs"):
        told = json.loads(run(command, cwd=_HERE, env=go_environment()))
    return Path(told["Dir"])
