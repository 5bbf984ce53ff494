"""What runs a Job, and goes on when that has ended."""

from __future__ import annotations

from faults.shapes.building import grow, once, scale, step
from faults.shapes.model import Shape

SHAPES: tuple[Shape, ...] = (
    Shape(
        "job",
        (grow(), step("job", "run_job", "grow", image="kubernaut.local/busybox:1"), scale("job", by=2)),
        once("grow", "job", "scale"),
        replicas=2,
        memory="128Mi",
    ),
)
