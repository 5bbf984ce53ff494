"""``python hack/docsite``: the site into build/docs; ``--check`` tells of what is wrong with it and writes none."""

import argparse
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if entry != str(_HERE))]

from docsite.building import build, check, external  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="docsite", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell warnings, dead links among them")
    parser.add_argument("--links", action="store_true", help="check links to other sites, over the network")
    options = parser.parse_args()
    sys.exit(external() if options.links else check() if options.check else build())
