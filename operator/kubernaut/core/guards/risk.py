"""Which steps change something, and which of these are of high risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubernaut.api.reach import CLUSTER_ACTIONS, CLUSTER_SCOPED
from kubernaut.core.action import Action, Idempotency, Risk
from kubernaut.core.expressions import Compiled
from kubernaut.core.plan import PlannedStep

#: these only give back what was taken away, so they wait for no replicas
GIVES_BACK: Final = frozenset({"uncordon_node", "untaint_node", "resume_cronjob"})


def acts(step: PlannedStep) -> bool:
    """Whether a step can change anything."""
    return step.action is not None and step.action.idempotency is not Idempotency.READ_ONLY


def high(action: Action[Any], target: tuple[str, str], given: Any) -> bool:
    """Whether an action is of high risk where it stands: by itself, or because it reaches beyond the namespace.

    Args:
        target: apiVersion and kind of the run's target.
        given: the step's parameters; an expression may give any kind.
    """
    if action.idempotency is Idempotency.READ_ONLY:
        return False
    if action.risk is Risk.HIGH or action.name in CLUSTER_ACTIONS or _cluster_scoped(*target):
        return True
    if not isinstance(given, Mapping) or "kind" not in given:
        return False
    version, kind = given.get("apiVersion", ""), given["kind"]
    if isinstance(version, Compiled) or isinstance(kind, Compiled):
        return True
    return _cluster_scoped(str(version), str(kind))


def _cluster_scoped(api_version: str, kind: str) -> bool:
    return (api_version.rpartition("/")[0], kind) in CLUSTER_SCOPED
