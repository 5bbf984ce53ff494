"""The launcher finds a Python that the archive has libraries for, and what it says where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plugin.archives import COMPLETER, HERE, LAUNCHER

OWN = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """An archive whose program prints its arguments."""
    for name in (LAUNCHER, COMPLETER):
        shutil.copy(HERE / LAUNCHER, tmp_path / name)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "lib" / OWN).mkdir(parents=True)
    shutil.copy(HERE / "start.py", tmp_path / "lib")
    cli = tmp_path / "lib" / "any" / "kubernaut" / "cli.py"
    cli.parent.mkdir(parents=True)
    cli.write_text("import sys\ndef main():\n    print(sys.argv)\n    return 7\n")
    return tmp_path


def ran(program: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "KUBERNAUT_PYTHON": python}
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_arguments_and_exit_code_pass_through_also_by_links(unpacked: Path, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "first").symlink_to(unpacked / LAUNCHER)
    (bin_ / LAUNCHER).symlink_to("first")
    done = ran(bin_ / LAUNCHER, "run", "two words")
    assert (done.stdout.strip(), done.returncode) == ("['kubectl-kubernaut', 'run', 'two words']", 7)


def test_called_as_completer_it_completes(unpacked: Path) -> None:
    assert (
        ran(unpacked / COMPLETER, "run", "").stdout.strip()
        == "['kubectl-kubernaut', '__complete', 'run', '']"
    )


def test_without_a_python_it_says_which_it_takes_and_a_prompt_is_told_nothing(unpacked: Path) -> None:
    done = ran(unpacked / LAUNCHER, "version", python="/nowhere/python3")
    assert done.returncode == 1
    assert f"needs Python {OWN.replace('cp3', '3.')}, and" in done.stderr
    quiet = ran(unpacked / COMPLETER, "ru", python="/nowhere/python3")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == (":4\n", "", 0)


def test_a_library_that_can_not_be_loaded_is_told_with_what_to_do(unpacked: Path) -> None:
    (unpacked / "lib/any/kubernaut/cli.py").write_text("import made_for_another_platform\n")
    done = ran(unpacked / LAUNCHER, "version")
    assert done.returncode == 1
    assert "can't load a library" in done.stderr
    assert "pipx install kubernaut" in done.stderr
    assert ran(unpacked / COMPLETER, "ru").stdout == ":4\n"
