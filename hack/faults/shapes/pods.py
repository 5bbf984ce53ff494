"""What removes pods."""

from __future__ import annotations

from faults.shapes.building import note, once, pod
from faults.shapes.model import Shape

SHAPES: tuple[Shape, ...] = (
    Shape(
        "pods",
        (
            pod("evict", "evicted", "evict"),
            pod("delete", "deleted", "delete", "evict"),
            note("note", "delete"),
        ),
        once("evict", "delete", "note"),
        replicas=2,
        begins_with=2,
        annotations={"faults/note": "done"},
    ),
)
