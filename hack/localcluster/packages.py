"""Debian packages, downloaded and unpacked but never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.process import run
from localcluster.progress import Step

NODE_PACKAGES = ("busybox-static", "nftables", "libnftables1", "libnftnl11", "libjansson4", "libxtables12")
SECCOMP_PACKAGES = ("libseccomp-dev",)
RUNC_PACKAGES = ("runc",)


def unpack(packages: Sequence[str], into: Path, step: Step) -> Path:
    """Download ``packages`` with apt-get and unpack them under ``into``; returns that root.

    Raises:
        ClusterError: no apt-get or dpkg here, or a package could not be had.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ClusterError("this machine has no apt-get and dpkg, so Debian packages can't be fetched")
    downloads, root = into / "deb", into / "root"
    downloads.mkdir(parents=True, exist_ok=True)
    root.mkdir(exist_ok=True)
    step.note(f"downloading {', '.join(packages)}")
    if not _download(packages, downloads) and os.geteuid() == 0:
        step.note("apt-get update (no package lists yet)")
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
        step.note(f"downloading {', '.join(packages)}")
    missing = [name for name in packages if not _have(name, downloads)]
    if missing and not _download(missing, downloads):
        raise ClusterError(
            f"apt-get could not download {', '.join(missing)}: run `apt-get update` or check the network"
        )
    for package in sorted(downloads.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(root)])
    return root


def _have(name: str, downloads: Path) -> bool:
    return any(downloads.glob(f"{name}_*.deb"))


def _download(packages: Sequence[str], downloads: Path) -> bool:
    done = subprocess.run(
        ["apt-get", "-qq", "download", *packages], cwd=downloads, capture_output=True, text=True, check=False
    )
    return done.returncode == 0
