"""A control group of its own for each cluster's pods, so that kubelets side by side don't share ``/kubepods``.

Works with cgroup v1 (one directory in every hierarchy) and v2 (one directory, controllers delegated by its parent).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from localcluster.errors import ClusterError

_ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("cpu", "memory", "pids")
#: see getSupportedUnifiedControllers in the kubelet's container manager
_V2_CONTROLLERS = {*_NEEDED, "cpuset", "hugetlb"}
_V1_CONTROLLERS = {*_NEEDED, "cpuset", "cpuacct", "devices", "blkio", "freezer", "hugetlb"}


def group_name(cluster: str, number: int = 1) -> str:
    """The group of one of the cluster's real nodes; the dot keeps it apart from other clusters' names."""
    return f"kubernaut-{cluster}" if number == 1 else f"kubernaut-{cluster}.{number}"


def hierarchies(mounts: str) -> dict[str, Path]:
    """Mount points of all cgroup file systems in ``/proc/mounts``, by their controllers (v2: ``unified``)."""
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found["unified"] = Path(point)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in _V1_CONTROLLERS or option.startswith("name="):
                    found[option] = Path(point)
    return found


def _mounted() -> dict[str, Path]:
    return hierarchies(Path("/proc/mounts").read_text())


def is_v2() -> bool:
    return (_ROOT / "cgroup.controllers").is_file()


def obstacle() -> str | None:
    """Why pods can't get cgroups here, or None."""
    probe = f"kubernaut.probe.{os.getpid()}"
    try:
        if is_v2():
            missing = set(_NEEDED) - set((_ROOT / "cgroup.controllers").read_text().split())
        else:
            missing = set(_NEEDED) - set(_mounted())
        if missing:
            return f"cgroup controllers {', '.join(sorted(missing))} are not available"
        create(probe)
    except (OSError, ClusterError) as error:
        return f"cgroups can't be created: {error}"
    finally:
        remove(probe)
    return None


def create(name: str) -> None:
    """Make the group in every hierarchy; fine if it is there."""
    if is_v2():
        _delegate()
        (_ROOT / name).mkdir(exist_ok=True)
        return
    for point in set(_mounted().values()):
        group = point / name
        group.mkdir(exist_ok=True)
        # a v1 cpuset starts empty and takes no process until it has processors and memory nodes
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).is_file():
                (group / setting).write_text((point / setting).read_text())


def _delegate() -> None:
    """Let groups below the root use the controllers that the kubelet asks for; most machines do that anyhow."""
    available = set((_ROOT / "cgroup.controllers").read_text().split())
    control = _ROOT / "cgroup.subtree_control"
    missing = available & _V2_CONTROLLERS - set(control.read_text().split())
    if missing:
        control.write_text(" ".join(f"+{name}" for name in sorted(missing)))


def remove(name: str, timeout: float = 10.0) -> None:
    """Remove the group and all below it, from every hierarchy; the kernel may need a moment to let go.

    Raises:
        ClusterError: processes are still in it after ``timeout`` seconds.
    """
    roots = [_ROOT / name, *(point / name for point in _mounted().values())]
    deadline = time.monotonic() + timeout
    while remaining := [path for path in roots if path.is_dir()]:
        for path in remaining:
            _remove_tree(path)
        if time.monotonic() > deadline:
            raise ClusterError(f"control group {remaining[0]} can't be removed: processes are still in it")
        time.sleep(0.01)


def _remove_tree(root: Path) -> None:
    groups: Sequence[Path] = [path for path in root.rglob("*") if path.is_dir()]
    for group in (*sorted(groups, key=lambda path: len(path.parts), reverse=True), root):
        try:
            group.rmdir()
        except OSError:
            return
