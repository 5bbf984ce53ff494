"""What has other steps below it: branches, items, alternates, started runs, and steps at the very end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from faults.shapes.building import grow, impossible, note, once, scale
from faults.shapes.model import STARTED, Manifest, Shape


def template(name: str, *steps: Manifest) -> Manifest:
    return {"name": name, "steps": list(steps)}


def at_last(*steps: Manifest) -> dict[str, Any]:
    """Return the steps under finally; the word is Python's own."""
    return {"finally": list(steps)}


def deciding(name: str, *needs: str) -> Manifest:
    """Return a switch that hangs on an output of an earlier step."""
    cases = [
        {"name": "many", "when": "steps.scale.outputs.replicas > 5", "template": "large"},
        {"name": "few", "when": "steps.scale.outputs.replicas == 2", "template": "small"},
    ]
    return {"name": name, "dependsOn": list(needs), "switch": {"cases": cases}}


SHAPES: tuple[Shape, ...] = (
    Shape(
        "switch",
        (scale(by=2), deciding("decide", "scale"), note("after", "decide")),
        once("scale", "decide/few/grow", "decide/few/add", "after"),
        replicas=3,
        memory="128Mi",
        annotations={"faults/after": "done"},
        spec={
            "templates": [
                template("large", scale(name="never", by=9)),
                template("small", grow(), scale("grow", name="add")),
            ]
        },
    ),
    Shape(
        "for-each",
        (
            {
                "name": "each",
                "forEach": {"items": ["a", "b", "c"], "parallelism": 2, "template": "item"},
            },
            grow("each"),
        ),
        once("each/0/add", "each/1/add", "each/2/add", "grow"),
        replicas=3,
        memory="128Mi",
        spec={"templates": [template("item", scale(name="add"))]},
    ),
    Shape(
        "alternate",
        ({**impossible("try"), "onFailure": "Alternate", "alternate": "other"}, scale("try", by=2)),
        once("try/alternate/add", "scale"),
        replicas=3,
        spec={"templates": [template("other", scale(name="add"))]},
    ),
    Shape(
        "finally",
        (grow(), impossible("fail", "grow")),
        once("grow", "note", "tidy", undone=("grow",)),
        phase="Failed",
        verdict="RolledBack",
        replicas=1,
        annotations={"faults/note": "done"},
        spec={"onFailure": "Rollback", **at_last(note("note"), scale("note", name="tidy"))},
    ),
    Shape(
        "subflow",
        (
            note("before"),
            {
                "name": "call",
                "dependsOn": ["before"],
                "workflow": {
                    "name": "sequential",
                    "parameters": [{"name": "deployment", "value": "=params.deployment"}],
                },
            },
            scale("call", name="more", by=2),
        ),
        once("before", "grow", "restart", "scale", "more") + Counter({("call", STARTED): 1}),
        replicas=3,
        memory="128Mi",
        annotations={"faults/before": "done"},
    ),
)
