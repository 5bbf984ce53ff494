"""``python hack/localpostgres``: puts the package's parent on the path, then runs the command line."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if entry != str(_HERE))]

from localpostgres.cli import main  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    sys.exit(main())
