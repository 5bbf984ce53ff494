"""What fails, and is tried again or undone."""

from __future__ import annotations

from faults.shapes.building import gate, grow, impossible, note, once, scale
from faults.shapes.model import Nudge, Shape

SHAPES: tuple[Shape, ...] = (
    Shape(
        "retry",
        (
            {
                **note("try", expect={"metadata.labels.go": "yes"}),
                "retry": {"limit": 20, "backoff": {"initial": "200ms", "factor": 2, "max": "2s"}},
            },
            scale("try"),
        ),
        once("try", "scale"),
        replicas=1,
        annotations={"faults/try": "done"},
        nudge=("try", Nudge.LABEL),
    ),
    Shape(
        "rollback",
        (grow(), scale("grow"), impossible("fail", "scale")),
        once("grow", "scale", undone=("scale", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback"},
    ),
    Shape(
        "parallel-rollback",
        (grow(), note("a"), note("b"), impossible("fail", "grow", "a", "b")),
        once("grow", "a", "b", undone=("b", "a", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback", "parallelism": 3},
    ),
    # The former value of what may be secret goes into a Secret first.
    Shape(
        "kept",
        (note("token"), scale("token"), impossible("fail", "scale")),
        once("token", "scale", undone=("scale", "token")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback"},
    ),
    Shape(
        "timeout",
        (grow(), gate("gate", "grow", label="never", timeout="2s")),
        once("grow", undone=("grow",)),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback"},
    ),
    Shape(
        "race",
        (
            grow(),
            note("a", "grow"),
            {"name": "pause", "dependsOn": ["a"], "wait": {"duration": "800ms"}},
            scale("pause"),
            note("b", "scale"),
            gate("gate", "b", label="never"),
        ),
        once("grow", "a", "scale", "b", undone=("b", "scale", "a", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback", "timeout": "1200ms"},
        races=True,
    ),
)
