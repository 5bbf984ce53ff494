"""``python hack/faults [--long] [--seed N] [STAGE ...]``: every fault, or those named; JSON in build/faults/.

Exits with 1 where an effect was lost or doubled, a run got stuck or ended otherwise than without the fault.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop  # noqa: E402

from faults import campaigns  # noqa: E402
from faults.arena import ROOT, Arena  # noqa: E402
from faults.world import say  # noqa: E402

OUT = ROOT / "build" / "faults"


async def run(stages: list[str], seed: int, long: bool) -> dict[str, Any]:
    """Run the stages asked for on a cluster of their own."""
    reports: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Arena.up() as arena:
        for stage in stages:
            say(stage)
            report = await campaigns.STAGES[stage](arena, Path(folder) / stage, seed, long)
            (OUT / f"{stage}.json").write_text(json.dumps(report, indent=2) + "\n")
            say(f"{stage}: {report}")
            reports[stage] = report
    return reports


def main() -> int:
    """Run the faults asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(campaigns.STAGES)}")
    parser.add_argument("--long", action="store_true", help="many more kill points")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    unknown = sorted(set(given.stages) - set(campaigns.STAGES))
    if unknown:
        parser.error(f"there is no stage {unknown[0]!r}; there are {', '.join(campaigns.STAGES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    reports = uvloop.run(run(given.stages or list(campaigns.STAGES), given.seed, given.long))
    bad = {stage: report for stage, report in reports.items() if not campaigns.good(report)}
    summary = {"stages": reports, "good": not bad, "seconds": round(time.monotonic() - began, 1)}
    (OUT / "faults.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    for stage in bad:
        say(f"{stage}: something was lost, doubled, stuck or otherwise: see build/faults/{stage}.json")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
