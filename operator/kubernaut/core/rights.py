"""The rights that a Workflow's account needs, from its plan alone: what its steps declare, and what its runs read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from kubernaut.api.guards import GitOpsMode
from kubernaut.api.names import API_VERSION
from kubernaut.core.action import Action, MayKeep
from kubernaut.core.candidates import UNKNOWN, Candidates, Unclear, Values, known
from kubernaut.core.guards.disrupting import WORKLOADS
from kubernaut.core.guards.levels import Level, Reach, most_unavailable
from kubernaut.core.kinds import group_of, resource_of
from kubernaut.core.plan import Kind, Plan, PlannedStep
from kubernaut.core.ports import ObjectRef, Right

# What needs a right where no step does; no step can have such a name.
TARGET: Final = "the target"
VERIFY: Final = "the verification"
ALERTS: Final = "alerts"
#: what lies between the objects that alerts name and those that own them, by the kind that is wanted
_BETWEEN: Final = {
    "Deployment": (("", "pods"), ("apps", "replicasets")),
    "ReplicaSet": (("", "pods"),),
    "StatefulSet": (("", "pods"),),
    "DaemonSet": (("", "pods"),),
    "Job": (("", "pods"),),
    "CronJob": (("", "pods"), ("batch", "jobs")),
}
PAUSING: Final = "guards.gitOps"
#: what PauseSync needs is in the namespace of an owner that shows only when a field is about to change
PAUSES: Final = (
    "PauseSync needs get and patch on the Application, Kustomization or HelmRelease that keeps the target, in its "
    "own namespace; which that is shows only then"
)
BOUNDING: Final = "guards.maxUnavailablePercent"
BUDGETS: Final = "guards.respectBudgets"
_REMOVES_PODS: Final = frozenset({("create", "pods/eviction"), ("delete", "pods"), ("patch", "pods")})
_CONTROLLERS: Final = ("daemonsets", "replicasets", "statefulsets")
_WATCH: Final = ("list", "watch")


class Weight(IntEnum):
    """How much hangs on a right."""

    #: without it a step fails
    MUST = 0
    #: without it what is waited for is read every 2 s instead of watched
    EASES = 1
    #: a step fails without it where what it changes is large or may be secret, which shows only then
    PERHAPS = 2


@dataclass(frozen=True, slots=True)
class Need:
    """One right, who needs it (a step by its path, TARGET, VERIFY, ALERTS, a guard), and how much hangs on it.

    Attributes:
        namespace: where it is needed; empty for the Workflow's own namespace, or none.
    """

    right: Right
    by: str
    weight: Weight = Weight.MUST
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """All that is needed.

    Attributes:
        unclear: steps of which it can't be known before a run what they act on, and why.
        elsewhere: what is needed in other namespaces than the Workflow's.
    """

    needs: tuple[Need, ...] = ()
    unclear: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[Need, ...] = ()

    def of(self, *weights: Weight) -> tuple[Need, ...]:
        """Return the needs of these weights."""
        return tuple(need for need in self.needs if need.weight in weights)

    def corrected(self, resources: Mapping[tuple[str, str], str]) -> Needs:
        """Return the same with the resource names that the cluster has, by group and guessed name."""
        return replace(self, needs=tuple(_corrected(need, resources) for need in self.needs))


def needed(plan: Plan, params: Mapping[str, Any] | None = None) -> Needs:
    """Return what the account of a Workflow needs so that its runs can do all that they may come to do.

    A name stands where it is the same in every run: literal in the Workflow, or an expression of parameters that are
    among ``params``. Defaults do not count, for a run may give another value.
    """
    return _Reader(plan, params or {}).needs()


def guarded(needs: Needs, levels: Sequence[Level], target_kind: str) -> Needs:
    """Return the same with what guards read before steps that may remove pods.

    ``maxUnavailablePercent`` counts pods by their controllers; those of a target that selects them by the target,
    which every run reads anyway. ``respectBudgets`` tries the eviction of a pod that is deleted.
    """
    touched = {(need.right.verb, need.right.resource) for need in needs.needs if not need.right.group}
    more: list[Need] = []
    if most_unavailable(levels) is not None and touched & _REMOVES_PODS and target_kind not in WORKLOADS:
        more += (Need(Right("get", "apps", resource, ()), BOUNDING) for resource in _CONTROLLERS)
    if any(level.guards.respect_budgets for level in levels) and ("delete", "pods") in touched:
        more.append(Need(Right("create", "", "pods/eviction", ()), BUDGETS))
    return replace(needs, needs=tuple(dict.fromkeys((*needs.needs, *more)))) if more else needs


def kinds(plan: Plan) -> frozenset[tuple[str, str]]:
    """Return API version and kind of all objects that the Workflow itself names."""
    target = plan.spec.target
    found = {(target.api_version, target.kind)}
    for step in plan.steps:
        wait = step.spec.wait if step.kind is Kind.WAIT else None
        if wait is not None and wait.object is not None:
            found.add((wait.object.api_version, wait.object.kind))
        tree = step.with_.tree if step.with_ is not None else {}
        for named in (tree, tree.get("manifest")):
            pair = (named.get("apiVersion"), named.get("kind")) if isinstance(named, Mapping) else ()
            if all(isinstance(part, str) for part in pair) and pair:
                found.add((str(pair[0]), str(pair[1])))
    return frozenset(found)


class _Reader:
    def __init__(self, plan: Plan, params: Mapping[str, Any]) -> None:
        self._plan = plan
        self._values = Values(plan, params)
        self._needs: dict[Need, None] = {}
        self._unclear: dict[tuple[str, str], None] = {}
        spec = plan.spec.target
        name = str(self._values.render(plan.target_name.tree, {}))
        self._target = ObjectRef(spec.api_version, spec.kind, "", name)

    def needs(self) -> Needs:
        target, names = self._target, _names((self._target.name,))
        # Every run reads its target when it begins, and pins it by its UID.
        self._object(target.api_version, target.kind, names, TARGET)
        if self._plan.spec.verify is not None:
            self._watch(target.api_version, target.kind, names, VERIFY)
        if any(trigger.uses_owner for trigger in self._plan.triggers):
            for group, resource in _BETWEEN.get(target.kind, ()):
                self._add(Right("get", group, resource, ()), ALERTS, Weight.MUST)
        for step in self._plan.steps:
            self._step(step)
        guards = self._plan.spec.guards
        if guards is not None and guards.git_ops is GitOpsMode.PAUSE_SYNC:
            self._unclear[PAUSING, PAUSES] = None
        found = Needs(tuple(self._needs), tuple(self._unclear))
        return guarded(found, [Level(Reach.WORKFLOW, "", guards)] if guards is not None else (), target.kind)

    def _step(self, step: PlannedStep) -> None:
        if step.kind is Kind.ALTERNATE:
            return
        if step.kind is Kind.WAIT:
            self._wait(step)
        if step.kind is Kind.WORKFLOW:
            # The run it starts acts as its own Workflow's account; this one only follows it.
            self._watch(API_VERSION, "WorkflowExecution", (), step.name)
        if step.action is None:
            return
        for more in self._values.items(step.each):
            try:
                for parameters in Candidates(step, self._values).of(more):
                    self._action(step.action, parameters, step.name)
            except Unclear as error:
                self._unclear[step.name, str(error)] = None

    def _action(self, action: Action[Any], parameters: Any, by: str) -> None:
        try:
            rights = action.rights(self._target, parameters)
            perhaps = action.may_keep(self._target, parameters) if isinstance(action, MayKeep) else ()
        except Exception as error:
            # An installed action may not be made for values that are not known yet; nothing else hangs on it.
            raise Unclear(
                f"{action.name} can't tell its rights before a run: {type(error).__name__}"
            ) from error
        for right in rights:
            self._add(right, by, Weight.MUST)
        for right in perhaps:
            self._add(right, by, Weight.PERHAPS)

    def _wait(self, step: PlannedStep) -> None:
        wait = step.spec.wait
        if wait is None or wait.until is None:
            return
        if step.uses_target:
            self._watch(self._target.api_version, self._target.kind, _names((self._target.name,)), step.name)
        if wait.object is None or step.object_name is None:
            return
        for more in self._values.items(step.each):
            names = _names((str(self._values.render(step.object_name.tree, more)),))
            self._object(wait.object.api_version, wait.object.kind, names, step.name)
            self._watch(wait.object.api_version, wait.object.kind, names, step.name)

    def _object(self, api_version: str, kind: str, names: tuple[str, ...], by: str) -> None:
        self._add(Right("get", group_of(api_version), resource_of(kind), names), by, Weight.MUST)

    def _watch(self, api_version: str, kind: str, names: tuple[str, ...], by: str) -> None:
        for verb in _WATCH:
            self._add(Right(verb, group_of(api_version), resource_of(kind), names), by, Weight.EASES)

    def _add(self, right: Right, by: str, weight: Weight) -> None:
        if not known((right.group, right.resource)):
            self._unclear[by, "which kind it acts on hangs on an expression"] = None
            return
        self._needs[Need(_honoured(right), by, weight)] = None


def _names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names for RBAC, none where one is not known."""
    found = tuple(names)
    return found if all(name and UNKNOWN not in name for name in found) else ()


def _honoured(right: Right) -> Right:
    """Return a right without names that RBAC does not look at, or that are not known.

    The name of what is created is not in the request's path, and a collection has none; what is created below an
    object (pods/eviction) has its name there.
    """
    nameless = right.verb == "deletecollection" or (right.verb == "create" and "/" not in right.resource)
    return replace(right, names=() if nameless else tuple(sorted(_names(right.names))))


def _corrected(need: Need, resources: Mapping[tuple[str, str], str]) -> Need:
    resource, slash, sub = need.right.resource.partition("/")
    found = resources.get((need.right.group, resource), resource)
    return replace(need, right=replace(need.right, resource=f"{found}{slash}{sub}"))


def told(right: Right) -> str:
    """Return a right in few words: ``patch deployments.apps web``."""
    names = [*right.names[:4], *(["..."] if len(right.names) > 4 else [])]
    return f"{right} {', '.join(names)}".rstrip()


def singly(rights: Iterable[Right]) -> Iterator[Right]:
    """Yield the rights with one name each, or none."""
    for right in rights:
        if right.names:
            yield from (replace(right, names=(name,)) for name in right.names)
        else:
            yield right
