"""Puts images together, each layer once per set of inputs, in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from generate_requirements import FOLDER
from image import debian, postgres, sbom, wheels
from image.kinds import KINDS, ROOT, Kind, version
from image.layers import Layer, Stored, Tree, extract, write_archive
from localcluster.errors import ClusterError
from localcluster.images import go_arch
from localcluster.paths import cache_root, locked
from localcluster.progress import Progress

#: archives and layers of one name that are kept in the cache; older ones are removed
KEPT = 4
_BILL = "usr/share/kubernaut/sbom.cdx.json"
#: modules of this package that decide what a layer is, by the name of the layer
_RECIPES = {
    "debian": ("debian.py", "layers.py", "kinds.py"),
    "wheels": ("debian.py", "layers.py", "unwanted.py", "wheels.py"),
    "postgres": ("debian.py", "layers.py", "postgres.py", "trial_postgres.py", "wheels.py"),
    "image": ("builder.py", "kinds.py", "layers.py", "sbom.py"),
}


def home() -> Path:
    """Return where images are kept."""
    return cache_root() / "images"


def build_or_cached(
    kind: str,
    progress: Progress | None = None,
    *,
    fresh: bool = False,
    revision: str | None = None,
    source: Path = ROOT,
) -> Path:
    """Return the archive of an image; it is built where the cache has none of this source.

    Its bill of materials lies beside it, with the ending ``.cdx.json``. ``fresh`` asks Debian for its packages anew;
    else those of the first build with this source stay, which is what a test wants and a release does not. ``source``
    is another tree to take Kubernaut itself and the version from; what is below it in the image is as pinned here.

    Raises:
        ClusterError: it can't be built here; says what is missing.
    """
    if kind not in KINDS:
        raise ClusterError(f"there is no image {kind!r}: there are {', '.join(KINDS)}")
    progress = progress or Progress()
    home().mkdir(parents=True, exist_ok=True)
    with locked(home() / "lock", waiting=lambda: progress.step("another build of images is under way")):
        return _Build(replace(KINDS[kind], tag=version(source)), progress, fresh, revision, source).archive()


def sources(source: Path = ROOT) -> list[Path]:
    """Return the files of a tree that decide what Kubernaut's own layer holds."""
    package = source / "operator" / "kubernaut"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [source / "pyproject.toml", source / "LICENSE", *sorted(files)]


def key(recipe: str, *parts: str, files: Iterable[Path] = (), source: Path = ROOT) -> str:
    """Return the name of what these inputs make; ``source`` is the tree that the files are of."""
    digest = hashlib.sha256(f"{os.uname().machine}\0{debian.SUITE}\0".encode())
    for part in parts:
        digest.update(part.encode() + b"\0")
    recipes = [Path(__file__).with_name(name) for name in _RECIPES[recipe]]
    for root, path in (*((ROOT, path) for path in recipes), *((source, path) for path in files)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


class _Build:
    def __init__(
        self, kind: Kind, progress: Progress, fresh: bool, revision: str | None, source: Path
    ) -> None:
        self._kind = kind
        self._progress = progress
        self._fresh = fresh
        self._revision = revision
        self._source = source
        self._made: set[str] = set()

    def archive(self) -> Path:
        for left in home().glob(".*-*"):
            _remove(left)
        base = self._layer("debian", key("debian"), lambda root: debian.make(root, self._progress))
        above = self._distributions(base) if self._kind.requirements else self._postgres(base)
        stored = [base, *above]
        out = home() / f"{self._kind.name}-{self._key(stored)}.tar"
        if not out.exists():
            self._write(out, stored)
        _used(out)
        _keep_newest(home(), f"{self._kind.name}-*.tar")
        return out

    def _distributions(self, base: Stored) -> Iterable[Stored]:
        workshop = debian.Workshop(base.root / "root")
        for count in range(1, len(self._kind.requirements) + 1):
            sets = self._kind.requirements[:count]
            files = [ROOT / FOLDER / f"{name}.txt" for name in sets]
            name = key("wheels", base.layer.digest, files=files)
            yield self._layer(sets[-1], name, partial(self._wheels, sets, workshop))
        name = key("wheels", base.layer.digest, files=sources(self._source), source=self._source)
        yield self._layer(
            "kubernaut", name, lambda root: wheels.make_own(root, self._source, workshop, self._progress)
        )

    def _postgres(self, base: Stored) -> Iterable[Stored]:
        name = key("postgres", base.layer.digest, *postgres.pinned())
        yield self._layer("postgres", name, lambda root: postgres.make(root, base.root, self._progress))

    def _wheels(self, sets: Sequence[str], workshop: debian.Workshop, root: Path) -> Stored:
        return wheels.make(root, sets, workshop, self._progress)

    def _key(self, stored: Sequence[Stored]) -> str:
        layers = (one.layer.digest for one in stored)
        return key("image", self._kind.name, self._kind.tag, self._revision or "", *layers)

    def _layer(self, name: str, inputs: str, make: Callable[[Path], Stored]) -> Stored:
        """Return a layer from the cache, or make it: whole in a folder aside, then renamed into place."""
        folder = home() / "layers" / f"{name}-{inputs}"
        if self._fresh and name == "debian":
            shutil.rmtree(folder, ignore_errors=True)
        if not (folder / "layer.json").exists():
            aside = folder.with_name(f".{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            aside.mkdir(parents=True)
            make(aside).save()
            aside.rename(folder)
        _used(folder)
        _keep_newest(folder.parent, f"{name}-*")
        return Stored.load(folder)

    def _write(self, out: Path, stored: Sequence[Stored]) -> None:
        components = [component for one in stored for component in one.components]
        document = sbom.bill(self._kind.reference.rpartition(":")[0], self._kind.tag, components)
        with tempfile.TemporaryDirectory(dir=home(), prefix=".bill-") as scratch:
            bill = Tree().file(_BILL, document).write(Path(scratch) / "layer.tar")
            layers = [*(one.layer for one in stored), bill]
            with self._progress.step(f"{self._kind.name}: trying the image out"):
                self._try_out(layers)
            with self._progress.step(f"{self._kind.name}: writing the archive"):
                settings, labels = self._kind.settings(self._revision), self._kind.labels(self._revision)
                aside = out.with_name(f".{out.name}")
                write_archive(aside, self._kind.reference, go_arch(), settings, layers, labels)
                out.with_suffix(".cdx.json").write_text(document)
                aside.rename(out)

    def _try_out(self, layers: Sequence[Layer]) -> None:
        """Unpack the image, see that all its libraries are there, and have its own program run.

        Raises:
            ClusterError: something is missing in it.
        """
        with tempfile.TemporaryDirectory(dir=home(), prefix=".trial-") as scratch:
            root = Path(scratch)
            for layer in layers:
                with tarfile.open(layer.path) as tar:
                    extract(tar, root)
            trial = debian.Workshop(root)
            if missing := trial.missing_libraries(root):
                raise ClusterError(f"the image {self._kind.name} lacks libraries: {'; '.join(missing)}")
            trial.program(*self._kind.trial, path=[root / wheels.PLACE])


def _used(path: Path) -> None:
    os.utime(path)


def _keep_newest(folder: Path, pattern: str) -> None:
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        _remove(path)
        path.with_suffix(".cdx.json").unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
