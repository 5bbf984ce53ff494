"""The three images: what is in them, and what a container of them is told."""

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


def version(source: Path = ROOT) -> str:
    """Return the version of a source tree, which is the tag of its images."""
    found = _VERSION.search((source / "operator" / "kubernaut" / "__init__.py").read_text())
    assert found
    return found[1]


@dataclass(frozen=True)
class Kind:
    """One image.

    Attributes:
        arguments: what its Python is started with.
        requirements: the names of files in ``hack/requirements``, each holding all of the one before it; each gives a
            layer, so that images share what they have in common. Kubernaut itself is above them; where there are
            none, Postgres is there in its stead.
        trial: a program of the finished image that has to run, and its arguments.
        env: variables beside those that all images have.
        stop: the signal that ends it in good order, where it is not SIGTERM.
        tag: the version that it is of.
    """

    name: str
    title: str
    about: str
    arguments: tuple[str, ...]
    requirements: tuple[str, ...]
    trial: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    stop: str = ""
    tag: str = field(default_factory=version)

    @property
    def reference(self) -> str:
        """The name of a local build."""
        return f"{REGISTRY}/kubernaut-{self.name}:{self.tag}"

    def labels(self, revision: str | None = None) -> dict[str, str]:
        """Return what the image says about itself; the revision only where a release names it."""
        labels = {
            "org.opencontainers.image.title": self.title,
            "org.opencontainers.image.description": self.about,
            "org.opencontainers.image.version": self.tag,
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
            **self.env,
        }
        stop = {"StopSignal": self.stop} if self.stop else {}
        return {
            "User": f"{USER}:{USER}",
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Entrypoint": ["/usr/bin/python3", *self.arguments],
            "ExposedPorts": {f"{self.port}/tcp": {}},
            "WorkingDir": "/",
            "Labels": self.labels(revision),
            **stop,
        }


_OURS = {"KUBERNAUT_BIND": "0.0.0.0", "KUBERNAUT_STATE_DIR": f"{SCRATCH}/kubernaut"}


def _imports(*modules: str) -> tuple[str, ...]:
    statements = "; ".join(f"import {module}" for module in modules)
    return ("usr/bin/python3.11", "-W", "error::SyntaxWarning", "-c", statements)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "operator",
            "Kubernaut operator",
            "Repairs Kubernetes workloads by declared workflows, and proves what it did",
            ("-m", "kubernaut.app"),
            ("operator",),
            _imports("kubernaut.app", "kubernaut.cli"),
            _OURS,
        ),
        Kind(
            "analyst",
            "Kubernaut analyst",
            "Learns patterns from the history of Kubernaut's runs",
            ("-m", "kubernaut.analyst"),
            ("operator", "analyst"),
            _imports("kubernaut.analyst", "hdbscan", "sklearn.linear_model", "scipy.stats", "numpy"),
            # The libraries take as many threads as the machine has, which is not what a container may use.
            {**_OURS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        ),
        Kind(
            "postgres",
            "Postgres with pgvector",
            "A history to try Kubernaut out with: one server, no replica, no backup",
            ("/usr/local/lib/trial_postgres.py",),
            (),
            ("usr/local/bin/postgres", "--version"),
            # Where the server's socket is; pg_isready and psql of the wheel look in /tmp else.
            {"PGHOST": "/var/run/postgresql"},
            port=5432,
            # Its SIGTERM waits until every client is gone.
            stop="SIGINT",
        ),
    )
}
