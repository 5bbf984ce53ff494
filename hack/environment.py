"""Make the virtual environment that every make target uses.

It lives in the user's cache, keyed by the pinned requirements and by this checkout, so that the
repository stays clean and two checkouts never share an editable install.

    python3 hack/environment.py          create it where missing, print its path
    python3 hack/environment.py --path   print its path only
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "hack" / "requirements" / "dev.txt"
UV = "uv==0.13.8"


def cache_dir() -> Path:
    """Return the project's cache folder in the user's home."""
    base = os.environ.get("KUBERNAUT_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubernaut"


def venv_path() -> Path:
    """Return where the environment of this checkout lives."""
    digest = hashlib.sha256()
    for part in (REQUIREMENTS.read_bytes(), str(ROOT).encode()):
        digest.update(part)
    digest.update(f"{sys.version_info[:2]}{UV}".encode())
    return cache_dir() / "venvs" / digest.hexdigest()[:16]


def say(text: str) -> None:
    print(f"venv: {text}", file=sys.stderr, flush=True)


def new_environment(path: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(path)], capture_output=True, text=True)
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout + made.stderr and os.geteuid() == 0 and shutil.which("apt-get"):
        say("python3-venv is missing; installing it with apt-get")
        subprocess.run(["apt-get", "-qq", "update"], check=True, stdout=sys.stderr)
        subprocess.run(["apt-get", "-qq", "install", "-y", "python3-venv"], check=True, stdout=sys.stderr)
        shutil.rmtree(path, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
        return
    raise SystemExit(
        f"venv: {sys.executable} could not make a virtual environment at {path}:\n{made.stdout}{made.stderr}"
        "Install your distribution's python3-venv package and try again."
    )


def create(path: Path) -> None:
    """Create the environment at ``path``; a half-made one is removed first."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"creating {path}")
    new_environment(path)
    python = str(path / "bin" / "python")
    say(f"installing {UV}")
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True, stdout=sys.stderr)
    uv = [str(path / "bin" / "uv"), "pip", "install", "--python", python, "--no-progress"]
    say("installing the pinned requirements (about a minute with an empty cache)")
    subprocess.run([*uv, "--require-hashes", "-r", str(REQUIREMENTS)], check=True, stdout=sys.stderr)
    subprocess.run([*uv, "--no-deps", "-e", str(ROOT)], check=True, stdout=sys.stderr)
    (path / "ready").touch()


def make(path: Path) -> None:
    """Create the environment at ``path`` unless it is there."""
    if not (path / "ready").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.parent / f"{path.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (path / "ready").exists():
                create(path)


def main() -> None:
    path = venv_path()
    if "--path" not in sys.argv:
        make(path)
    print(path)


if __name__ == "__main__":
    main()
