"""Where things are kept: builds in the user's cache, clusters in the user's state directory."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


def cache_root(env: Mapping[str, str] = os.environ) -> Path:
    """``$KUBERNAUT_CACHE``, else ``kubernaut`` in the XDG cache directory."""
    if given := env.get("KUBERNAUT_CACHE"):
        return Path(given).absolute()
    base = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "kubernaut"


def state_root(env: Mapping[str, str] = os.environ) -> Path:
    """``$KUBERNAUT_STATE``, else ``kubernaut`` in the XDG state directory."""
    if given := env.get("KUBERNAUT_STATE"):
        return Path(given).absolute()
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / "kubernaut"


def check_name(name: str) -> str:
    """Cluster names become file, cgroup and node names.

    Raises:
        ClusterError: the name is not lower-case letters, digits and dashes, at most 30 of them.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"cluster name {name!r} is not usable: take at most 30 lower-case letters, digits and inner dashes"
        )
    return name


@dataclass(frozen=True)
class ClusterPaths:
    """Files of one cluster; everything below ``root`` is removed by ``down``."""

    root: Path

    @classmethod
    def of(cls, name: str) -> ClusterPaths:
        return cls(state_root() / "clusters" / check_name(name))

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        return self.root / "audit" / "audit.log"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def node(self) -> Path:
        return self.root / "node"

    @property
    def second_node(self) -> Path:
        return self.root / "node-2"

    @property
    def images(self) -> Path:
        return self.root / "images"


def cluster_names() -> list[str]:
    """Names of clusters that have state on this machine."""
    base = state_root() / "clusters"
    return sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []


@contextmanager
def locked(
    path: Path, *, waiting: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing); ``waiting`` is entered while somebody else has it.

    The body may remove the file: the inode is compared after locking, so a waiter that got a removed file
    tries again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting():
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace ``path`` in one step, so that a reader sees the old text or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    temporary.replace(path)
