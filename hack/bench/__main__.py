"""``python hack/bench [--quick] [NAME ...]``: every benchmark, or those named; one JSON file each in build/bench/.

A goal that is missed is told as missed. The load of the machine is noted; a full run waits for it to be low first.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop  # noqa: E402

from bench.figures import Report  # noqa: E402
from bench.ground import ROOT, Ground  # noqa: E402
from bench.machine import CALM_LOAD, await_calm, load, machine  # noqa: E402
from bench.plan import FULL, QUICK, Plan  # noqa: E402

OUT = ROOT / "build" / "bench"
#: what needs a cluster, and shares one; each module has ``measure(ground, plan) -> Report``
ON_A_CLUSTER = ("throughput", "latency", "requests", "alerts", "memory", "soak")
#: what has a cluster with a real node for itself; each module has ``measure(say, plan) -> Report``
ON_A_NODE = ("image",)
#: what is a program of its own
APART = ("discovery", "backfill", "replay")
NAMES = (*ON_A_CLUSTER, *ON_A_NODE, *APART)


def say(text: str) -> None:
    """Show progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def reported(name: str, measured: Callable[[], Report], plan: Plan) -> list[str]:
    """Run one benchmark, write its file, and return what is to be printed of it."""
    before = await_calm(say, plan.patience_seconds)
    began = time.monotonic()
    say(f"{name} (load {before})")
    report = measured()
    document: dict[str, Any] = {
        **report.to_json(),
        "quick": plan is QUICK,
        "etcd_fsync": False,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "load_1min_at_start": before,
        "calm_at_start": before < CALM_LOAD,
        "load_1min_at_end": load(),
        "seconds": round(time.monotonic() - began, 1),
    }
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    say(f"{name}: {document['seconds']} s, written to {path.relative_to(ROOT)}")
    return report.told()


def _run(measure: Callable[..., Coroutine[Any, Any, Report]], ground: Ground | None, plan: Plan) -> Report:
    return uvloop.run(measure(ground, plan))


def apart(name: str, plan: Plan) -> list[str]:
    """Run a benchmark that is a program of its own."""
    path = OUT / f"{name}.json"
    say(name)
    sizes = ["--sizes", "1000", "--rounds", "2"] if plan is QUICK else []
    command = [sys.executable, "-m", f"bench.{name}", "--out", str(path), *sizes]
    subprocess.run(command, cwd=ROOT / "hack", check=True, stdout=subprocess.DEVNULL)
    found = json.loads(path.read_text())
    return [
        f"{name}: {'met   ' if met else 'MISSED'} {goal} at {size['runs']} runs"
        for size in found["sizes"]
        for goal, met in size["goals_met"].items()
    ]


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Run the benchmarks asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: does it work at all")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    wanted = given.names or list(NAMES)
    plan = QUICK if given.quick else FULL
    OUT.mkdir(parents=True, exist_ok=True)
    # So that what was started is taken down again, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        here = [name for name in ON_A_CLUSTER if name in wanted]
        ground = stack.enter_context(Ground.up(say)) if here else None
        for name in here:
            measure = importlib.import_module(f"bench.{name}").measure
            told += reported(name, partial(_run, measure, ground, plan), plan)
    for name in ON_A_NODE:
        if name in wanted:
            measure = importlib.import_module(f"bench.{name}").measure
            told += reported(name, partial(measure, say, plan), plan)
    for name in APART:
        if name in wanted:
            told += apart(name, plan)
    print("\n".join(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
