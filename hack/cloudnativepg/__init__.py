"""The CRD of CloudNativePG's ``Cluster``, out of its own Go module: what the chart makes is held against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from localcluster.process import run
from localcluster.progress import Progress
from localcluster.toolchain import find_go, go_environment

_HERE: Final = Path(__file__).resolve().parent
_MODULE: Final = "github.com/cloudnative-pg/cloudnative-pg"


def cluster_definition() -> Path:
    """Return the file with the CRD; the module is downloaded into Go's own cache at the first use.

    Raises:
        localcluster.errors.ClusterError: there is no Go, or the module can't be had.
    """
    progress = Progress()
    command = [find_go(progress), "mod", "download", "-json", _MODULE]
    with progress.step("CloudNativePG's CRDs"):
        told = json.loads(run(command, cwd=_HERE, env=go_environment()))
    return Path(told["Dir"]) / "config" / "crd" / "bases" / "postgresql.cnpg.io_clusters.yaml"
