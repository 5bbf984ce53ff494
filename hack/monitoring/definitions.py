"""The CRDs of the Prometheus operator, made from its own types by the generator that it uses itself.

They are kept in the user's cache. The module with the types has no CRDs in it, and theirs are not ours to store.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from localcluster import paths
from localcluster.process import run
from localcluster.progress import Progress
from localcluster.toolchain import find_go, go_environment

MODULE: Final = Path(__file__).resolve().parent.parent / "prometheus"
_TYPES: Final = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
_GENERATOR: Final = "sigs.k8s.io/controller-tools/cmd/controller-gen"


def definitions(*plurals: str) -> list[Path]:
    """Return the files with the CRDs of these kinds, as in ``servicemonitors``.

    Raises:
        localcluster.errors.ClusterError: there is no Go, or the modules can't be had.
    """
    digest = hashlib.sha256(b"\0".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum")))
    home = paths.cache_root() / f"monitoring-crds-{digest.hexdigest()[:12]}"
    progress = Progress()
    with paths.locked(
        home.with_suffix(".lock"), waiting=lambda: progress.step("waiting for the generator of CRDs")
    ):
        if not home.exists():
            made = home.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            command = [find_go(progress), "run", _GENERATOR, "crd:crdVersions=v1", f"paths={_TYPES}"]
            with progress.step("CRDs of the Prometheus operator"):
                run([*command, f"output:crd:dir={made}"], cwd=MODULE, env=go_environment())
            made.replace(home)
    return [home / f"monitoring.coreos.com_{plural}.yaml" for plural in plurals]
