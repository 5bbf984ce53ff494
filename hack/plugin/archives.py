"""Archives of the plugin: a launcher, and what Kubernaut needs for each Python that a machine may have.

Wheels are chosen by hash for the platform that they are for, not for the one that they are put together on, so every
archive can be made on any machine. What is the same for every Python is in the archive once.
"""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environment import ROOT
from image.layers import Tree
from image.unwanted import unwanted
from localcluster.process import run

HERE = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "hack" / "requirements" / "cli.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LAUNCHER, COMPLETER = "kubectl-kubernaut", "kubectl_complete-kubernaut"
#: of the project's own programs none: they name the Python of who built the archive
_NEVER = ("bin",)


@dataclass(frozen=True)
class Platform:
    """A platform by its names in krew, and for wheels."""

    os: str
    arch: str
    wheels: str

    @property
    def name(self) -> str:
        return f"{self.os}-{self.arch}"


PLATFORMS = (
    Platform("linux", "amd64", "x86_64-manylinux_2_28"),
    Platform("linux", "arm64", "aarch64-manylinux_2_28"),
    Platform("darwin", "amd64", "x86_64-apple-darwin"),
    Platform("darwin", "arm64", "aarch64-apple-darwin"),
)


@dataclass(frozen=True)
class Archive:
    """An archive on disk."""

    platform: Platform
    path: Path
    sha256: str


def wheel(out: Path) -> Path:
    """Build Kubernaut's own wheel, from a copy: setuptools leaves folders of its own where it builds.

    Raises:
        ClusterError: it can't be built.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        for name in ("pyproject.toml", "LICENSE", "README.md"):
            shutil.copy(ROOT / name, source)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "operator", source / "operator", ignore=ignored)
        _uv("build", "--wheel", "--no-create-gitignore", "--out-dir", str(source / "dist"), str(source))
        (built,) = (source / "dist").glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(built, out))


def build(
    out: Path, platform: Platform, version: str, own: Path, pythons: Sequence[str] = PYTHONS
) -> Archive:
    """Write the archive of a platform, and its sum beside it. The same inputs give the same bytes.

    Args:
        own: Kubernaut's wheel.

    Raises:
        ClusterError: a wheel could not be had.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sites = [root / f"cp{python.replace('.', '')}" for python in pythons]
        for site, python in zip(sites, pythons, strict=True):
            target = ["--target", str(site), "--python-version", python, "--python-platform", platform.wheels]
            _install(*target, "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS))
        _install("--target", str(root / "own"), str(own))
        tree = Tree()
        for name in (LAUNCHER, COMPLETER):
            tree.file(name, (HERE / LAUNCHER).read_text(), 0o755)
        tree.file("LICENSE", (ROOT / "LICENSE").read_text())
        tree.file("lib/start.py", (HERE / "start.py").read_text())
        _add(tree, "any", root / "own", [path.name for path in (root / "own").iterdir()])
        shared = _shared(sites)
        _add(tree, "any", sites[0], shared)
        for site in sites:
            _add(tree, site.name, site, sorted({path.name for path in site.iterdir()} - set(shared)))
        return _written(out, platform, version, tree, root / "archive.tar")


def _install(*arguments: str) -> None:
    _uv("pip", "install", "--no-deps", *arguments)


def _uv(*arguments: str) -> None:
    run([str(Path(sys.executable).with_name("uv")), "--quiet", *arguments])


def _shared(sites: Sequence[Path]) -> list[str]:
    """Return what lies at the top of every folder with the same contents; of a single one nothing is known."""
    if len(sites) == 1:
        return []
    names = sorted(path.name for path in sites[0].iterdir())
    return [name for name in names if all(_same(sites[0] / name, site / name) for site in sites[1:])]


def _same(one: Path, other: Path) -> bool:
    files, others = _files(one), _files(other)
    return files == others and all(
        filecmp.cmp(one / file if file else one, other / file if file else other, shallow=False)
        for file in files
    )


def _files(path: Path) -> set[str]:
    """Return what is packed of a file or folder, by path below it; a file itself is the empty path."""
    if path.is_file():
        return {""}
    below = (file for file in path.rglob("*") if file.is_file())
    return {str(f.relative_to(path)) for f in below if not unwanted(f.relative_to(path.parent).as_posix())}


def _add(tree: Tree, folder: str, site: Path, names: Sequence[str]) -> None:
    for name in names:
        if name in _NEVER:
            continue
        for file in sorted(_files(site / name)):
            path = f"{name}/{file}" if file else name
            if not unwanted(path):
                source = site / path
                mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
                tree.file(f"lib/{folder}/{path}", source.read_bytes(), mode)


def _written(out: Path, platform: Platform, version: str, tree: Tree, plain: Path) -> Archive:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"kubectl-kubernaut-{version}-{platform.name}.tar.gz"
    tree.write(plain)
    with (
        plain.open("rb") as tar,
        path.open("wb") as file,
        # Neither a name nor a time: both would make every build another archive.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed,
    ):
        shutil.copyfileobj(tar, packed, 1 << 20)
    with path.open("rb") as whole:
        digest = hashlib.file_digest(whole, "sha256").hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
    return Archive(platform, path, digest)
