"""Run every test, stage by stage, from what is cheap to what needs a real cluster.

    python hack/testing.py                 all stages, with coverage
    python hack/testing.py unit e2e        only these
    python hack/testing.py --no-coverage   a little faster

Coverage is that of the tests of units and of the database: measuring takes processor time, which a real cluster needs
for itself, and property tests go the same ways a thousand times. Stages that mostly wait run beside each other; what
all but the first say comes when they are over. Ends with one line ``N passed, N failed`` over all stages, and with 1
where anything failed or coverage fell short.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from environment import cache_dir
from localcluster import uses

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"
USES = BUILD / "uses"
COVERAGE_OF_ALL = 80
COVERAGE_OF_CORE = 95


@dataclass(frozen=True)
class Stage:
    """Tests that run together; ``workers`` processes where they can, ``measured`` where their coverage counts."""

    name: str
    folders: tuple[str, ...]
    told: str
    workers: int = 0
    measured: bool = False


UNIT = Stage("unit", ("tests/unit",), "no cluster, no database", 2, True)
PROPERTY = Stage("property", ("tests/property",), "what holds for all that is generated", 2)
DATABASE = Stage("database", ("tests/database",), "a real Postgres with pgvector", 0, True)
API_SERVER = Stage("apiserver", ("tests/apiserver",), "a real kube-apiserver")
E2E = Stage("e2e", ("tests/e2e",), "the real operator on a real cluster")
FAILOVER = Stage("failover", ("tests/failover",), "replicas that take over, an API server that stops")
FAULTS = Stage("faults", ("tests/faults",), "the operator killed at work")
NODE = Stage("node", ("tests/node",), "the demo, on a real node")
RIGHTS = Stage("rights", ("tests/rights",), "what is granted is what all stages used")
#: what runs after one another, and within one of these what runs beside one another: those mostly wait
PHASES: tuple[tuple[tuple[Stage, ...], ...], ...] = (
    ((UNIT, PROPERTY),),
    ((DATABASE, API_SERVER, NODE, FAILOVER), (E2E, FAULTS)),
    ((RIGHTS,),),
)
STAGES = tuple(stage for lanes in PHASES for lane in lanes for stage in lane)


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
    return {
        **kept,
        "COVERAGE_FILE": str(BUILD / "coverage"),
        "PYTHONPYCACHEPREFIX": compiled,
        uses.VARIABLE: str(USES),
    }


@dataclass(frozen=True)
class Run:
    """One call of this program: what was asked for."""

    wanted: frozenset[str]
    coverage: bool
    extra: tuple[str, ...]

    def phase(self, lanes: Sequence[Sequence[Stage]]) -> dict[str, float]:
        """Run lanes beside each other, and tell all of the first one at once; return seconds by stage."""
        asked = [[stage for stage in lane if stage.name in self.wanted] for lane in lanes]
        first, *others = [lane for lane in asked if lane] or [[]]
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor())
            beside = []
            for lane in others:
                print(f"== beside: {', '.join(stage.name for stage in lane)}", flush=True)
                told = stack.enter_context(tempfile.TemporaryFile("w+"))
                beside.append((pool.submit(self._lane, lane, told), told))
            times = self._lane(first, sys.stdout)
            for future, told in beside:
                times |= future.result()
                told.seek(0)
                print(told.read(), end="", flush=True)
        return times

    def _lane(self, lane: Sequence[Stage], out: IO[str]) -> dict[str, float]:
        return {stage.name: self._stage(stage, out) for stage in lane}

    def _stage(self, stage: Stage, out: IO[str]) -> float:
        folders = [folder for folder in stage.folders if (ROOT / folder).is_dir()]
        if not folders:
            print(f"== {stage.name}: there is nothing in {', '.join(stage.folders)}", file=out, flush=True)
            return 0.0
        report(stage).unlink(missing_ok=True)
        print(f"== {stage.name}: {stage.told}", file=out, flush=True)
        began, busy = time.monotonic(), processors()
        measured = ["-m", "coverage", "run"] if self.coverage and stage.measured else []
        python = [sys.executable, *measured, "-m", "pytest"]
        workers = ["-n", str(stage.workers)] if stage.workers else []
        options = ["-q", *workers, f"--junitxml={report(stage)}", "--durations=5"]
        command = [*python, *folders, *options, *self.extra]
        subprocess.run(command, cwd=ROOT, env=environment(), check=False, stdout=out, stderr=out)
        seconds = time.monotonic() - began
        used = f"{100 * (processors() - busy) / seconds / (os.cpu_count() or 1):.0f} % of all processors' time used"
        print(f"== {stage.name}: {seconds:.0f} s, {used}", file=out, flush=True)
        return seconds


def processors() -> float:
    """Return the seconds for which this machine's processors have worked, for whomever; 0 where that is not told."""
    told = Path("/proc/stat")
    if not told.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq = map(int, told.read_text().splitlines()[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def report(stage: Stage) -> Path:
    """Return where a stage's report is written."""
    return BUILD / f"{stage.name}.xml"


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
    # What one stage used says nothing; only the whole suite starts anew.
    if not given.stages:
        shutil.rmtree(USES, ignore_errors=True)
    wanted = frozenset(given.stages or names)
    run = Run(wanted, not given.no_coverage, tuple(extra))
    times: dict[str, float] = {}
    for lanes in PHASES:
        times |= run.phase(lanes)
    tally = Tally()
    for stage in STAGES:
        if stage.name in times:
            tally.add(report(stage))
    enough = not run.coverage or len(wanted) < len(STAGES) or coverage_holds()
    print("== " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items()))
    if not enough:
        print(f"== branch coverage is below {COVERAGE_OF_ALL} % (all) or {COVERAGE_OF_CORE} % (core)")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    return 0 if enough and tally.failed == 0 and tally.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
