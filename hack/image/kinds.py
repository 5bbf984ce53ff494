"""The two images: what is in them, and what a container of them is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.images import REGISTRY

ROOT = Path(__file__).resolve().parent.parent.parent
#: who runs it: a number, so that a kubelet can tell that it is not root
USER = 65532
#: where a container may write; everything else may be read-only
SCRATCH = "/tmp"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def version() -> str:
    """Return the version of the source, which is the tag of the images."""
    found = _VERSION.search((ROOT / "operator" / "kubernaut" / "__init__.py").read_text())
    assert found
    return found[1]


@dataclass(frozen=True)
class Kind:
    """One image.

    Attributes:
        requirements: the names of files in ``hack/requirements``, each holding all of the one before it; each gives a
            layer, so that images share what they have in common.
        imports: modules that have to be importable in the finished image.
        env: variables beside those that all images have.
    """

    name: str
    title: str
    about: str
    module: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The name of a local build."""
        return f"{REGISTRY}/kubernaut-{self.name}:{version()}"

    def labels(self, revision: str | None = None) -> dict[str, str]:
        """Return what the image says about itself; the revision only where a release names it."""
        labels = {
            "org.opencontainers.image.title": self.title,
            "org.opencontainers.image.description": self.about,
            "org.opencontainers.image.version": version(),
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.vendor": "Kubernaut",
        }
        return {**labels, "org.opencontainers.image.revision": revision} if revision else labels

    def settings(self, revision: str | None = None) -> dict[str, object]:
        """Return the configuration of containers, as OCI has it."""
        env = {
            "PATH": "/usr/local/bin:/usr/bin",
            "HOME": SCRATCH,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "KUBERNAUT_BIND": "0.0.0.0",
            "KUBERNAUT_STATE_DIR": f"{SCRATCH}/kubernaut",
            **self.env,
        }
        return {
            "User": f"{USER}:{USER}",
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Entrypoint": ["/usr/bin/python3", "-m", self.module],
            "ExposedPorts": {"8080/tcp": {}},
            "WorkingDir": "/",
            "Labels": self.labels(revision),
        }


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "operator",
            "Kubernaut operator",
            "Repairs Kubernetes workloads by declared workflows, and proves what it did",
            "kubernaut.app",
            ("operator",),
            ("kubernaut.app", "kubernaut.cli"),
        ),
        Kind(
            "analyst",
            "Kubernaut analyst",
            "Learns patterns from the history of Kubernaut's runs",
            "kubernaut.analyst",
            ("operator", "analyst"),
            ("kubernaut.analyst", "hdbscan", "sklearn.linear_model", "scipy.stats", "numpy"),
            # The libraries take as many threads as the machine has, which is not what a container may use.
            {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        ),
    )
}
