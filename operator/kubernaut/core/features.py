"""Features that can be switched off while the operator runs; each degrades as docs/features.md says."""

from __future__ import annotations

from enum import StrEnum

from kubernaut.api.steps import OnFailure
from kubernaut.api.workflow import WorkflowSpec


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
    DISCOVERY = "discovery"
    REMEMBER = "remember"
    GITOPS = "gitops"
    ALERTS = "alerts"
    NOTIFICATIONS = "notifications"
    METRICS = "metrics"


def used_by(spec: WorkflowSpec) -> frozenset[Feature]:
    """Return the features that runs of a Workflow go otherwise without, by what it says itself."""
    steps = [*spec.steps, *spec.finally_, *(step for template in spec.templates for step in template.steps)]
    policies = {spec.on_failure, *(step.on_failure for step in steps)}
    uses = {
        Feature.ROLLBACK: OnFailure.ROLLBACK in policies,
        Feature.RETRIES: any(step.retry.limit for step in steps),
        Feature.SUBFLOWS: any(step.workflow for step in steps),
        Feature.FOR_EACH: any(step.for_each for step in steps),
        Feature.CAPACITIES: any(step.resources for step in steps),
        Feature.PRIORITIES: spec.priority != 0,
        Feature.ALERTS: bool(spec.triggers),
        Feature.METRICS: spec.verify is not None and bool(spec.verify.metrics),
    }
    return frozenset(feature for feature, used in uses.items() if used)
