"""The plugin as a person has it: out of its archive, found by the real kubectl, against the real API server."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from apiserver.cli.space import REMEDIATED, RUNNING, Space
from environment import ROOT
from localcluster.images import go_arch
from plugin.archives import COMPLETER, LAUNCHER, PLATFORMS, REQUIREMENTS, build, wheel

UV = Path(sys.executable).with_name("uv")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def folder(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the PATH, with links into the unpacked archive, as krew makes them."""
    root = tmp_path_factory.mktemp("plugin")
    (platform,) = [one for one in PLATFORMS if one.name == f"linux-{go_arch()}"]
    archive = build(root, platform, "9.9.9", own, [PYTHON])
    with tarfile.open(archive.path) as tar:
        tar.extraction_filter = tarfile.data_filter
        tar.extractall(root / "store")
    (root / "bin").mkdir()
    for name in (LAUNCHER, COMPLETER):
        (root / "bin" / name).symlink_to(root / "store" / name)
    return root / "bin"


def kubectl(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBERNAUT_PYTHON": sys.executable, "PYTHONPATH": "/nowhere"}
    command = ["kubectl", *arguments]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)


def offered(folder: Path, *words: str) -> list[str]:
    done = kubectl(folder, "__complete", "kubernaut", *words)
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_kubectl_runs_it_on_the_real_cluster(folder: Path, space: Space) -> None:
    at = ("-n", space.namespace)
    sample = ROOT / "manifests" / "samples" / "crash-loop.yaml"
    linted = kubectl(folder, "kubernaut", "lint", str(sample))
    assert (linted.stdout, linted.returncode) == ("1 Workflow checked, no problems.\n", 0)
    started = kubectl(
        folder, "kubernaut", "run", "crash-loop", "-p", "deployment=checkout", "--name", "one", *at
    )
    assert started.returncode == 0, started.stderr
    space.patch_status("one", REMEDIATED)
    assert "Remediated" in kubectl(folder, "kubernaut", "status", *at).stdout
    assert "one  Succeeded, Remediated" in kubectl(folder, "kubernaut", "why", "one", *at).stdout
    absent = kubectl(folder, "kubernaut", "why", "oen", *at)
    assert absent.returncode == 4
    assert "Did you mean one?" in absent.stderr


def test_kubectl_completes_by_it(folder: Path, space: Space) -> None:
    space.started("one", RUNNING)
    at = ("-n", space.namespace)
    assert offered(folder, "wat") == ["watch\tShow how a run goes, to its end.", ":4"]
    assert offered(folder, "run", *at, "cr") == ["crash-loop", ":4"]
    assert offered(folder, "why", *at, "") == ["one", ":4"]
    assert offered(folder, "approve", *at, "one", "") == ["diagnose", ":4"]
    assert offered(folder, "status", "-n", space.namespace[:-2]) == [space.namespace, ":4"]
    assert offered(folder, "status", "--context", "") == [f"admin@kubernaut-{space.cluster.name}", ":4"]
    # Where a file is meant, the shell offers files.
    assert offered(folder, "lint", "") == [":0"]
    assert offered(folder, "rbac", "-f", "") == [":0"]


@pytest.mark.parametrize(
    "words", [("why", ""), ("run", "-n"), ("no", "such"), ("run", "'"), ("--context", "x", "wh")]
)
def test_a_prompt_is_never_told_of_trouble(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = subprocess.run(
        [folder / COMPLETER, *words],
        env={**os.environ, "KUBERNAUT_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines()[-1] in (":0", ":4")


def test_its_wheel_installs_without_what_only_the_operator_needs(own: Path, tmp_path: Path) -> None:
    """As `pipx install kubernaut` does it: a wheel, into an environment of its own."""
    home = tmp_path / "venv"
    subprocess.run([UV, "venv", "--quiet", home, "--python", sys.executable], check=True)
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", home / "bin" / "python", own]
    subprocess.run([*install, "--constraint", REQUIREMENTS], check=True)
    for program in ("kubernaut", LAUNCHER):
        told = subprocess.run([home / "bin" / program, "version"], capture_output=True, text=True, check=True)
        assert told.stdout.startswith("kubernaut 0.")
    sample = ROOT / "manifests" / "samples" / "crash-loop.yaml"
    subprocess.run([home / "bin" / "kubernaut", "lint", sample], capture_output=True, check=True)
    done = subprocess.run([home / "bin" / COMPLETER, "wa"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("watch\t")
    there = {path.name for path in home.glob("lib/*/site-packages/*")}
    assert not there & {"kopf", "alembic", "sqlalchemy", "uvloop", "numpy"}
