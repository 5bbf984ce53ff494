"""Run every test, stage by stage, from what is cheap to what needs a real cluster.

    python hack/testing.py                 all stages, with coverage
    python hack/testing.py unit e2e        only these
    python hack/testing.py --no-coverage   a little faster

Ends with one line ``N passed, N failed`` over all stages, and with 1 where anything failed or coverage fell short.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environment import cache_dir

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"
COVERAGE_OF_ALL = 80
COVERAGE_OF_CORE = 95


@dataclass(frozen=True)
class Stage:
    """Tests that run together; ``workers`` processes where they can."""

    name: str
    folders: tuple[str, ...]
    told: str
    workers: int = 0


STAGES = (
    Stage("unit", ("tests/unit", "tests/property"), "no cluster, no database", 2),
    Stage("database", ("tests/database",), "a real Postgres with pgvector"),
    Stage("apiserver", ("tests/apiserver",), "a real kube-apiserver"),
    Stage("e2e", ("tests/e2e",), "the real operator on a real cluster"),
    Stage("faults", ("tests/faults",), "the operator killed at work"),
    Stage("node", ("tests/node",), "the demo, on a real node"),
)


@dataclass
class Tally:
    """Counts over all stages."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, report: Path) -> None:
        """Count what a stage's report says; a stage without one has failed."""
        if not report.exists():
            self.failed += 1
            return
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.failed += failed
            self.skipped += skipped
            self.passed += tests - failed - skipped


def environment() -> dict[str, str]:
    """Return the environment of all stages: compiled test modules are kept, but in the user's cache."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = str(cache_dir() / "pycache")
    return {**kept, "COVERAGE_FILE": str(BUILD / "coverage"), "PYTHONPYCACHEPREFIX": compiled}


def run_stage(stage: Stage, coverage: bool, tally: Tally, extra: Sequence[str]) -> float:
    """Run one stage; return how long it took, in seconds."""
    folders = [folder for folder in stage.folders if (ROOT / folder).is_dir()]
    if not folders:
        print(f"== {stage.name}: there is nothing in {', '.join(stage.folders)}", flush=True)
        return 0.0
    report = BUILD / f"{stage.name}.xml"
    report.unlink(missing_ok=True)
    print(f"== {stage.name}: {stage.told}", flush=True)
    began = time.monotonic()
    python = [sys.executable, *(["-m", "coverage", "run"] if coverage else []), "-m", "pytest"]
    workers = ["-n", str(stage.workers)] if stage.workers else []
    command = [*python, *folders, "-q", *workers, f"--junitxml={report}", "--durations=5", *extra]
    subprocess.run(command, cwd=ROOT, env=environment(), check=False)
    tally.add(report)
    seconds = time.monotonic() - began
    print(f"== {stage.name}: {seconds:.0f} s", flush=True)
    return seconds


def coverage_holds() -> bool:
    """Print branch coverage, and say whether it is enough."""

    def call(*arguments: str) -> int:
        command = [sys.executable, "-m", "coverage", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode

    call("combine", "--quiet")
    good = call("report", f"--fail-under={COVERAGE_OF_ALL}") == 0
    core = "--include=*/kubernaut/core/*"
    return call("report", core, f"--fail-under={COVERAGE_OF_CORE}", "--format=total") == 0 and good


def main() -> int:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [stage.name for stage in STAGES]
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--no-coverage", action="store_true")
    given, extra = parser.parse_known_args()
    unknown = sorted(set(given.stages) - set(names))
    if unknown:
        parser.error(f"there is no stage {unknown[0]!r}; there are {', '.join(names)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    for stale in BUILD.glob("coverage*"):
        stale.unlink()
    wanted = [stage for stage in STAGES if not given.stages or stage.name in given.stages]
    tally, coverage = Tally(), not given.no_coverage
    times = {stage.name: run_stage(stage, coverage, tally, extra) for stage in wanted}
    enough = not coverage or len(wanted) < len(STAGES) or coverage_holds()
    print("== " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items()))
    if not enough:
        print(f"== branch coverage is below {COVERAGE_OF_ALL} % (all) or {COVERAGE_OF_CORE} % (core)")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    return 0 if enough and tally.failed == 0 and tally.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
