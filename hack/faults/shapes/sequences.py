"""What just goes on: steps one after the other or side by side, outputs, verification."""

from __future__ import annotations

from faults.shapes.building import grow, note, once, restart, scale, step
from faults.shapes.model import Shape

SHAPES: tuple[Shape, ...] = (
    Shape(
        "sequential",
        (grow(), restart("grow"), scale("restart")),
        once("grow", "restart", "scale"),
        replicas=1,
        memory="128Mi",
    ),
    Shape(
        "outputs",
        (
            step("diagnose", "collect_diagnostics", logs=False, events=False),
            {**scale("diagnose", by=2), "when": "steps.diagnose.outputs.desired == 0"},
            note("note", "scale", value="='replicas ' + string(steps.scale.outputs.replicas)"),
            {
                **scale("note", name="more", by=3),
                "when": "steps.scale.outputs.replicas == 2 && steps.scale.outputs.before == 0",
            },
        ),
        once("scale", "note", "more"),
        replicas=5,
        annotations={"faults/note": "replicas 2"},
    ),
    Shape(
        "parallel",
        (grow(), scale(), note("a"), note("b"), restart("grow", "scale", "a", "b")),
        once("grow", "scale", "a", "b", "restart"),
        replicas=1,
        memory="128Mi",
        annotations={"faults/a": "done", "faults/b": "done"},
    ),
    Shape(
        "verified",
        (grow(), note("note", "grow")),
        once("grow", "note"),
        verdict="Remediated",
        memory="128Mi",
        annotations={"faults/note": "done"},
        spec={
            "verify": {
                "expect": ["target.metadata.annotations['faults/note'] == 'done'"],
                "stabilization": "1s",
            }
        },
    ),
)
