"""Command line. Progress goes to stderr; stdout carries only the paths of what was made."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from environment import ROOT
from localcluster.errors import ClusterError
from localcluster.progress import Progress
from plugin.archives import PLATFORMS, Archive, build, wheel
from plugin.krew import HOMEPAGE, RELEASES, manifest, to_yaml


def version() -> str:
    """Return the version that is built."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="plugin", description="Archives of the kubectl plugin, and krew's manifest."
    )
    names = [platform.name for platform in PLATFORMS]
    made.add_argument(
        "platforms", nargs="*", metavar="PLATFORM", help=f"of {', '.join(names)}; all by default"
    )
    made.add_argument("--out", type=Path, default=ROOT / "build" / "plugin", help="folder to write to")
    made.add_argument("--releases", default=RELEASES, help="where archives are published, without version")
    made.add_argument("--homepage", default=HOMEPAGE, help="what the manifest names as home page")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with one explanation on stderr."""
    options = parser().parse_args(arguments)
    known = {platform.name: platform for platform in PLATFORMS}
    if unknown := sorted(set(options.platforms) - set(known)):
        print(f"error: there is no platform {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    progress = Progress()
    made: list[Archive] = []
    try:
        with progress.step("kubernaut: building the wheel"):
            own = wheel(options.out)
        for name in options.platforms or known:
            with progress.step(f"{name}: wheels for four Pythons, and the archive") as step:
                made.append(build(options.out, known[name], version(), own))
                step.note(f"{made[-1].path.stat().st_size / 1e6:.0f} MB")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    file = options.out / "kubernaut.yaml"
    file.write_text(to_yaml(manifest(made, version(), options.releases, options.homepage)))
    print(own, *(archive.path for archive in made), file, sep="\n")
    return 0
