"""The rights of each family of actions, from the actions themselves: what the chart's ClusterRoles give.

Families whose rights hang on what a Workflow names (generic, outside, releases) have no such role; ``kubernaut rbac``
prints what one Workflow needs, which is never more than the role of a family gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from generate_actions import example_of
from kubernaut.actions import configuration, databases, diagnosis, jobs, network, nodes, storage, workloads
from kubernaut.actions.fencing import fence, images
from kubernaut.actions.objects import DAEMON_SET, DEPLOYMENT, STATEFUL_SET
from kubernaut.api.names import GROUP
from kubernaut.core.action import Action
from kubernaut.core.ports import ObjectRef, Right
from kubernaut.core.rights import Need
from kubernaut.core.rules import merged

COMMON: Final = "common"
#: binding the role of such a family gives rights on what is in no namespace
CLUSTER_FAMILIES: Final = ("nodes",)
_FAMILIES: Final = (workloads, diagnosis, jobs, configuration, network, storage, databases, nodes)
# Parameters under which an action needs other rights than in its example.
_VARIANTS: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "restart_pod": ({"unhealthy": True, "method": "delete"},),
}
#: what every run does: it reads and watches its target, waits for objects, and starts and follows other runs
_COMMON_RIGHTS: Final = (
    *(
        Right(verb, "apps", resource)
        for verb in ("get", "list", "watch")
        for resource in ("deployments", "statefulsets", "daemonsets")
    ),
    *(Right(verb, "", "pods") for verb in ("get", "list", "watch")),
    Right("list", "apps", "replicasets"),
    *(Right(verb, GROUP, "workflowexecutions") for verb in ("create", "get", "list", "watch", "patch")),
)


def _rights(action: Action[Any]) -> Iterator[Right]:
    for api_version, kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET):
        target = ObjectRef(api_version, kind, "shop", "api")
        for given in (example_of(action), *_VARIANTS.get(action.name, ())):
            yield from action.rights(target, action.parameters.model_validate(given))


def families() -> dict[str, list[dict[str, Any]]]:
    """Return the rules of the role of each family, without names; before-images are a role of their own."""
    found = {COMMON: list(_COMMON_RIGHTS)}
    for family in _FAMILIES:
        name = family.__name__.rpartition(".")[2]
        found[name] = [
            Right(right.verb, right.group, right.resource)
            for action in family.actions(fence.never)
            for right in _rights(action)
            if right not in images.RIGHTS or action.name == "rotate_secrets"
        ]
    return {
        name: [rule.manifest() for rule in merged(Need(right, name) for right in rights)]
        for name, rights in found.items()
    }
