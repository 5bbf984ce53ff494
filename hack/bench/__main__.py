"""``python hack/bench [NAME ...]``: every benchmark, or those named; one JSON file each in build/bench/."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "build" / "bench"
NAMES = ("runs", "discovery")


def say(text: str) -> None:
    """Show progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(name: str) -> None:
    """Run one benchmark and write its file."""
    path = OUT / f"{name}.json"
    began = time.monotonic()
    say(name)
    if name == "runs":
        from bench import runs

        with tempfile.TemporaryDirectory() as folder:
            report = runs.main(say, Path(folder))
        path.write_text(json.dumps(report, indent=2) + "\n")
    else:
        command = [sys.executable, "-m", f"bench.{name}", "--out", str(path)]
        subprocess.run(command, cwd=ROOT / "hack", check=True)
    say(f"{name}: {time.monotonic() - began:.0f} s, written to {path.relative_to(ROOT)}")
    print(path.read_text())


def main() -> int:
    """Run the benchmarks asked for."""
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"bench: there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        run(name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
