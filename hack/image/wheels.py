"""The layers above Debian: Python distributions from pinned wheels, and Kubernaut itself."""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from generate_requirements import FOLDER, pins
from image.debian import PYTHON, Workshop
from image.kinds import ROOT
from image.layers import Component, Stored, Tree
from image.unwanted import unwanted
from localcluster.process import run
from localcluster.progress import Progress

#: where Debian's Python looks for what Debian did not package
PLACE = f"usr/local/lib/python{PYTHON}/dist-packages"
PROGRAMS = ("kubernaut", "kubectl-kubernaut")
#: modules of which few are ever loaded, and what stays out
_UNCOMPILED = r"/kubernetes/(aio/)?client/(models|api)/[^_]|/pygments/(lexers|styles)/[^_]|/tests?/"
#: these were moved about by who built the wheel, which strip may break
_UNSTRIPPED = re.compile(r".*\.libs/")


def make(root: Path, sets: Sequence[str], workshop: Workshop, progress: Progress) -> Stored:
    """Fill a folder with the layer of what the last set of requirements has beyond those before it.

    Raises:
        ClusterError: a wheel could not be had.
    """
    folder = root / "site"
    with progress.step(f"wheels of {sets[-1]}: downloading") as step:
        lines = _beyond(sets)
        step.note(f"{sum('==' in line for line in lines)} distributions")
        pinned = root / "requirements.txt"
        pinned.write_text("\n".join(lines) + "\n")
        install(folder, "--require-hashes", "--only-binary", ":all:", "-r", str(pinned))
    return _finished(root, folder, Tree(), workshop, progress, sets[-1])


def make_own(root: Path, source: Path, workshop: Workshop, progress: Progress) -> Stored:
    """Fill a folder with the layer of Kubernaut itself, out of a source tree."""
    folder = root / "site"
    with progress.step("kubernaut: building the wheel"), tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for name in ("pyproject.toml", "LICENSE"):
            shutil.copy(source / name, copy)
        # Of the README only its place on an index makes use; a changed one would make every image another one.
        (copy / "README.md").write_text("Kubernaut\n")
        shutil.copytree(
            source / "operator" / "kubernaut",
            copy / "operator" / "kubernaut",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        install(folder, str(copy))
    tree = Tree()
    for name in PROGRAMS:
        text = (folder / "bin" / name).read_text()
        tree.file(f"usr/local/bin/{name}", f"#!/usr/bin/python3\n{text.partition(chr(10))[2]}", 0o755)
    return _finished(root, folder, tree, workshop, progress, "kubernaut")


def _beyond(sets: Sequence[str]) -> list[str]:
    """Return the lines of the last set without those of the sets before it."""
    texts = [(ROOT / FOLDER / f"{name}.txt").read_text() for name in sets]
    known = {pin.name for text in texts[:-1] for pin in pins(text)}
    return [line for pin in pins(texts[-1]) if pin.name not in known for line in pin.lines]


def install(folder: Path, *what: str) -> None:
    """Unpack distributions into a folder, for the Python of the images.

    Raises:
        ClusterError: one could not be had.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    target = ["--target", str(folder), "--python-version", PYTHON, "--link-mode", "copy"]
    target += ["--python-platform", f"{os.uname().machine}-manylinux_2_36"]
    run([uv, "pip", "install", "--quiet", "--no-deps", *target, *what])


def _finished(
    root: Path, folder: Path, tree: Tree, workshop: Workshop, progress: Progress, what: str
) -> Stored:
    components = [component(path) for path in sorted(folder.glob("*.dist-info/METADATA"))]
    with progress.step(f"{what}: compiling and stripping"):
        workshop.strip([path for path in sorted(folder.rglob("*.so")) if not _UNSTRIPPED.match(str(path))])
        workshop.compile(folder, PLACE, _UNCOMPILED)
    with progress.step(f"{what}: writing the layer"):
        tree.folder(folder, f"{PLACE}/", lambda path: not unwanted(path.removeprefix(f"{PLACE}/")))
        layer = tree.write(root / "layer.tar")
    shutil.rmtree(folder)
    return Stored(layer, tuple(components), root)


def component(metadata: Path) -> Component:
    """Return what a distribution says of itself."""
    told = email.parser.HeaderParser().parsestr(metadata.read_text())
    licence = told["License-Expression"] or told["License"] or ""
    # Some put the whole text of their licence there.
    return Component("pypi", told["Name"], told["Version"], licence if len(licence) < 80 else "")
