"""Features that can be switched off while the operator runs; each degrades as docs/features.md says."""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    """A feature with a flag of its own (``feature.NAME`` in the switch's ConfigMap)."""

    ROLLBACK = "rollback"
    RETRIES = "retries"
    SUBFLOWS = "subflows"
    FOR_EACH = "foreach"
    HISTORY = "history"
    EXPIRY = "expiry"
    ETA = "eta"
    EVENTS = "events"
    CAPACITIES = "capacities"
    PRIORITIES = "priorities"
