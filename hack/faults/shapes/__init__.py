"""The shapes of Workflows that faults are tried on; a new one goes into the module of its kind, or a new one."""

from __future__ import annotations

from faults.shapes import failing, jobs, nested, pods, sequences, waiting
from faults.shapes.model import Shape

SHAPES: tuple[Shape, ...] = (
    *sequences.SHAPES,
    *failing.SHAPES,
    *waiting.SHAPES,
    *pods.SHAPES,
    *nested.SHAPES,
    *jobs.SHAPES,
)
