"""Building the site; every warning is an error, dead links and anchors among them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve().parent
SITE: Final = ROOT / "build" / "docs"
DOCTREES: Final = ROOT / "build" / "docs-cache"


def build(source: Path = ROOT, out: Path = SITE, cache: Path = DOCTREES) -> int:
    """Build the pages below a folder; return 0, or 1 after all warnings were told."""
    return _sphinx("html", source, out, cache)


def check(source: Path = ROOT, cache: Path = DOCTREES) -> int:
    """Find all that ``build`` would warn of, in a third of the time: the half of it is each page's navigation."""
    return _sphinx("pseudoxml", source, cache.with_name("docs-check"), cache)


def external() -> int:
    """Ask for every address outside; return 1 where one is gone. Their answers are in build/docs-links."""
    return _sphinx("linkcheck", ROOT, ROOT / "build" / "docs-links", DOCTREES)


def _sphinx(builder: str, source: Path, out: Path, cache: Path) -> int:
    options = ["-q", "-W", "--keep-going", "-j", "2", "-b", builder, "-c", str(HERE), "-d", str(cache)]
    return int(build_main([*options, str(source), str(out)]))
