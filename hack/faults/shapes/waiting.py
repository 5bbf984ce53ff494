"""What waits: for a condition, for a person, until it is cancelled."""

from __future__ import annotations

from faults.shapes.building import gate, grow, once, scale
from faults.shapes.model import Nudge, Shape

SHAPES: tuple[Shape, ...] = (
    Shape(
        "wait",
        (scale(), gate("gate", "scale"), scale("gate", name="more", by=2)),
        once("scale", "more"),
        replicas=3,
        nudge=("gate", Nudge.LABEL),
    ),
    Shape(
        "approval",
        (
            scale(),
            {
                "name": "ask",
                "dependsOn": ["scale"],
                "approval": {"message": "Go on?", "expiresAfter": "10m"},
            },
            grow("ask"),
        ),
        once("scale", "grow"),
        replicas=1,
        memory="128Mi",
        nudge=("ask", Nudge.APPROVE),
    ),
    Shape(
        "cancel",
        (grow(), gate("gate", "grow", label="never"), scale("gate")),
        once("grow"),
        phase="Cancelled",
        memory="128Mi",
        nudge=("gate", Nudge.CANCEL),
    ),
)
