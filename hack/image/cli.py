"""Command line. Progress goes to stderr; stdout carries only the paths of archives."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from image.builder import build_or_cached
from image.kinds import KINDS
from localcluster.errors import ClusterError
from localcluster.progress import Progress, human


def _build(options: argparse.Namespace) -> None:
    progress = Progress()
    for kind in options.kinds or KINDS:
        started = time.monotonic()
        archive = build_or_cached(kind, progress, fresh=options.fresh, revision=options.revision)
        size = archive.stat().st_size / 1e6
        taken = human(time.monotonic() - started)
        progress.say(f"{KINDS[kind].reference}: {size:.1f} MB ({taken}); for a local cluster:")
        progress.say(f"  python3 hack/localcluster load-image {archive}")
        print(archive, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main_parser = argparse.ArgumentParser(prog="image", description="The container images of Kubernaut.")
    commands = main_parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build OCI archives into the cache; print their paths")
    build.set_defaults(run=_build)
    build.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all by default")
    build.add_argument(
        "--fresh", action="store_true", help="ask Debian for its newest packages, as a release does"
    )
    build.add_argument("--revision", help="the commit, for the label org.opencontainers.image.revision")
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with one explanation on stderr."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
