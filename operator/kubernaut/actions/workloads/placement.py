"""Which nodes would take a pod, as far as nodes and the pod's template say. Pure.

What the scheduler looks at beside that (room, affinity between pods, spreading, volumes) is not looked at here: a
node that is refused here takes no such pod, one that is not may still be full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.core import fields
from kubernaut.core.selectors import meets

REQUIRED: Final = fields.parse("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution")
_KEEPS_OUT: Final = frozenset({"NoSchedule", "NoExecute"})


def obstacle(node: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    """Return why a node takes no pod of this spec, or None."""
    if node["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    if pods.condition(node, "Ready").get("status") != "True":
        return "it is not ready"
    if node["spec"].get("unschedulable"):
        return "it is cordoned"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in _KEEPS_OUT and not any(
            _tolerates(one, taint) for one in spec.get("tolerations") or ()
        ):
            return f"the pods do not tolerate its taint {taint['key']}"
    labels = node["metadata"].get("labels") or {}
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"its label {key} is not {value}"
    terms = (fields.get(spec, REQUIRED) or {}).get("nodeSelectorTerms")
    if terms is not None and not any(_matches(term, node["metadata"]["name"], labels) for term in terms):
        return "the pods' node affinity excludes it"
    return None


def away_from(spec: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return a pod spec whose required node affinity excludes a node too."""
    rule = {"key": "metadata.name", "operator": "NotIn", "values": [node]}
    path = (*REQUIRED, "nodeSelectorTerms")
    terms = fields.get(spec, path) or [{"matchFields": []}]
    # One term has to hold; one that asks for nothing holds nowhere, and would hold with the rule in it.
    changed = [_with_rule(term, rule) if term else term for term in terms]
    result: dict[str, Any] = fields.put(spec, path, changed)
    return result


def _with_rule(term: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    there = list(term.get("matchFields") or ())
    return {**term, "matchFields": there if rule in there else [*there, dict(rule)]}


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    alike = exists or (toleration.get("value") or "") == (taint.get("value") or "")
    return bool(toleration["key"] == taint["key"] and alike)


def _matches(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    rules, names = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not rules and not names:
        return False
    by_field = {"metadata.name": name}
    return all(meets(rule, labels) for rule in rules) and all(meets(rule, by_field) for rule in names)
