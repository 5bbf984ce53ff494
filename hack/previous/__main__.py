"""``python3 hack/previous``: makes the archive of the version before anew; ``--check``: whether it would differ."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if entry != str(_HERE))]

import previous  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    files = previous.from_history()
    if sys.argv[1:] != ["--check"]:
        previous.store(files)
        print(
            f"wrote {previous.ARCHIVE.relative_to(previous.ROOT)}: {len(files)} files of {previous.COMMIT[:7]}"
        )
    elif files != dict(previous.stored()):
        sys.exit(
            f"{previous.ARCHIVE.name} is not what commit {previous.COMMIT[:7]} has: python3 hack/previous"
        )
