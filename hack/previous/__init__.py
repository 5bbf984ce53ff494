"""The version before this one, to upgrade from and to go back to, in tests.

There is no release yet, so it is a commit of this project's own history: the one in which the chart was first
installed, upgraded and rolled back on a real node. What its images and its chart are made of lies beside this module
in ``source.tar.xz``, for whoever tests may have no history of Git at hand. It is what ``git archive`` has of that
commit, under another number, so that the two can be told apart. ``python3 hack/previous`` makes it anew from a full
clone; where there is a release, name its tag here and let the number be.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
COMMIT: Final = "27621e061faa453ae13e2d4e65053ae7345d884f"
VERSION: Final = "0.0.9"
ARCHIVE: Final = Path(__file__).with_name("source.tar.xz")
#: what images and chart are made of; tests, pages and tools stay out
_PATHS: Final = ("LICENSE", "charts/kubernaut", "operator/kubernaut", "pyproject.toml")
_UNUSED: Final = ("charts/kubernaut/ci/", "charts/kubernaut/README.md")
#: where the number stands: with what is before and after it in its line
_NUMBERED: Final = {
    "charts/kubernaut/Chart.yaml": (("\nversion: ", "\n"), ("\nappVersion: ", "\n")),
    "operator/kubernaut/__init__.py": (('\n__version__ = "', '"\n'),),
}


def unpack(folder: Path) -> Path:
    """Unpack the source tree of the version before into a folder, and return the folder."""
    for path, content in stored():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def stored() -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file in the archive."""
    with tarfile.open(ARCHIVE) as tar:
        yield from _files(tar)


def from_history() -> dict[str, bytes]:
    """Return the same files out of Git's history.

    Raises:
        subprocess.CalledProcessError: the clone does not have the commit.
        ValueError: the commit has no such number, or more than one.
    """
    command = ["git", "archive", "--format=tar", COMMIT, *_PATHS]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        found = {path: content for path, content in _files(tar) if not path.startswith(_UNUSED)}
    for path, places in _NUMBERED.items():
        text = found[path].decode()
        for before, after in places:
            text = _renumbered(path, text, before, after)
        found[path] = text.encode()
    return found


def store(files: Mapping[str, bytes]) -> None:
    """Write the archive; the same files give the same one."""
    with tarfile.open(ARCHIVE, "w:xz", format=tarfile.GNU_FORMAT, preset=9) as tar:
        for path in sorted(files):
            info = tarfile.TarInfo(path)
            info.size = len(files[path])
            tar.addfile(info, io.BytesIO(files[path]))


def _renumbered(path: str, text: str, before: str, after: str) -> str:
    head, found, rest = text.partition(before)
    _, ended, tail = rest.partition(after)
    if not (found and ended) or before in tail:
        raise ValueError(
            f"{path} of {COMMIT} has not one line {before.strip()!r}: say in _NUMBERED where it is"
        )
    return f"{head}{before}{VERSION}{after}{tail}"


def _files(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if member.isfile():
            content = tar.extractfile(member)
            assert content
            yield member.name, content.read()
