"""Where the programs are: out of Debian's packages, into the user's cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from localcluster import paths
from localcluster.packages import unpack
from localcluster.progress import Progress

PACKAGES: Final = ("prometheus", "prometheus-alertmanager")


def programs() -> Path:
    """Return the folder with ``prometheus``, ``promtool``, ``prometheus-alertmanager`` and ``amtool``.

    Raises:
        localcluster.errors.ClusterError: this machine has no apt-get and dpkg, or the packages can't be had.
    """
    home = paths.cache_root() / "monitoring"
    done = home / "root" / "usr" / "bin"
    progress = Progress()
    with paths.locked(
        home.with_name("monitoring.lock"), waiting=lambda: progress.step("waiting for a download")
    ):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            with progress.step("Prometheus and Alertmanager out of Debian's packages") as step:
                unpack(PACKAGES, home, step)
            (home / "complete").touch()
    return done
