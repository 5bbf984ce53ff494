"""``update_network_policy``: let a NetworkPolicy allow one more peer, or one less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from kubernaut.actions.fencing import fence
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.network.rules import (
    Direction,
    Peer,
    Port,
    is_everybody,
    normal_ports,
    normal_rule,
)
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.api.base import DnsName, Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_POLICY: Final = ("networking.k8s.io/v1", "NetworkPolicy")


class Operation(StrEnum):
    """Whether the peer is let in (or out), or no longer."""

    ALLOW = "Allow"
    DISALLOW = "Disallow"


class UpdateNetworkPolicyParameters(ActionParameters):
    """Parameters of ``update_network_policy``: one peer, and the ports."""

    name: Annotated[
        DnsName | None,
        Field(description="The NetworkPolicy; by default the run's target, where that is one."),
    ] = None
    operation: Annotated[
        Operation, Field(description="`Allow` adds a rule for the peer; `Disallow` removes the peer.")
    ]
    direction: Annotated[
        Direction, Field(description="`Ingress`: traffic from the peer; `Egress`: traffic to it.")
    ]
    peer: Annotated[
        Peer | None,
        Field(
            description="Who: `podLabels` (pods of the policy's own namespace), `namespaceLabels` (all pods of those "
            "namespaces; with `podLabels` only those pods), or `cidr`, with `except`. Without it everybody."
        ),
    ] = None
    ports: Annotated[
        tuple[Port, ...],
        Field(
            max_length=8,
            description="`port` (number or name), `endPort`, `protocol` (TCP, UDP or SCTP; TCP by default). Without "
            "it all ports.",
        ),
    ] = ()
    allow_any: Annotated[
        Flag, Field(description="With `Allow`: also where the peer is everybody, or nearly so.")
    ] = False
    allow_none: Annotated[
        Flag, Field(description="With `Disallow`: also where no rule is left, so that nobody is allowed.")
    ] = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allows = self.operation is Operation.ALLOW
        if self.allow_any and not allows:
            raise ValueError("allowAny needs operation: Allow")
        if self.allow_none and allows:
            raise ValueError("allowNone needs operation: Disallow")
        if allows and is_everybody(self.peer) and not self.allow_any:
            raise ValueError(
                "the peer is everybody, or nearly so; narrow it by labels or a smaller cidr, or set allowAny: true"
            )
        return self

    @property
    def rule(self) -> dict[str, Any]:
        """The rule as the API server writes it."""
        peers = [self.peer.manifest()] if self.peer is not None else []
        ports = normal_ports(port.manifest() for port in self.ports)
        return {
            **({self.direction.peers: peers} if peers else {}),
            **({"ports": ports} if ports else {}),
        }


class UpdateNetworkPolicy(MarkedAction[UpdateNetworkPolicyParameters, None]):
    """Adds one rule to a NetworkPolicy, or takes one peer out of it.

    `Allow` appends a rule with the peer and the ports given, unless there is an equal one. A peer that is everybody,
    or nearly so, is refused without `allowAny: true`: none at all, all pods of all namespaces, a `cidr` of less than
    8 bits (IPv4) or 16 (IPv6). Refused too where the policy does not restrict the direction (`policyTypes`): then a
    rule would change nothing.

    `Disallow` takes the peer out of every rule that has exactly these ports, and the rule with it where no other peer
    is left, for a rule without peers would allow everybody. Without `peer` that are the rules that allow everybody.
    Where no rule would be left, so that nobody is allowed, it is refused without `allowNone: true`. Rules that still
    allow the same peer on other ports, or everybody, are counted in the message; peers that are written with
    `matchExpressions` are never taken for the one given.

    Other policies that select the same pods are not looked at: what any of them allows is allowed. The former rules
    are remembered for putting them back: up to 2 KiB on the object itself; more in a Secret that belongs to the run,
    for which the account needs `create` and `get` on secrets.
    """

    name: ClassVar = "update_network_policy"
    summary: ClassVar = "Let a NetworkPolicy allow one peer by labels or address, or no longer"
    workload: ClassVar = _POLICY
    parameters = UpdateNetworkPolicyParameters
    example: ClassVar = {
        "operation": "Allow",
        "direction": "Ingress",
        "peer": {"podLabels": {"app": "web"}},
        "ports": [{"port": 8080}],
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "rulesBefore": "How many rules the direction had.",
        "rules": "How many it has now.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: UpdateNetworkPolicyParameters) -> ObjectRef:
        return named(namespace, target, *_POLICY, parameters.name)

    def rights(
        self, target: ObjectRef | None, parameters: UpdateNetworkPolicyParameters
    ) -> tuple[Right, ...]:
        return rights(("get", "patch"), *_POLICY, known_name(target, _POLICY[1], parameters.name))

    async def look(
        self,
        cluster: Cluster,
        context: StepContext,
        parameters: UpdateNetworkPolicyParameters,
        seen: Manifest,
    ) -> None:
        return None

    def plan(
        self,
        seen: Manifest,
        evidence: None,
        parameters: UpdateNetworkPolicyParameters,
        context: StepContext,
    ) -> fence.Change:
        ref, direction = ObjectRef.of(seen), parameters.direction
        if direction.value not in (seen["spec"].get("policyTypes") or ()):
            raise _refused(
                f"{ref} does not restrict {direction.field}: {direction} is not among its policyTypes, so its rules "
                "for it say nothing"
            )
        before: list[Any] = seen["spec"].get(direction.field) or []
        allows = parameters.operation is Operation.ALLOW
        after = _allowed(before, parameters) if allows else _disallowed(before, parameters)
        counts = {"rulesBefore": len(before), "rules": len(after)}
        what = f"{direction.field} {direction.peers} {_told(parameters)}"
        if after == before:
            state = "is allowed" if allows else "is not allowed by any rule of these ports"
            return fence.nothing(f"{ref}: {what} {state} already", counts)
        if not after and not parameters.allow_none:
            raise _refused(
                f"{ref} was left alone: no {direction.field} rule would be left, so that nobody is allowed; set "
                "allowNone: true where that is meant"
            )
        state = "is allowed" if allows else f"is no longer allowed{_still(after, parameters)}"
        desired = fields.put(seen, ("spec", direction.field), after)
        return fence.change(seen, desired, f"{ref}: {what} {state}", counts)


def _allowed(before: Sequence[Any], parameters: UpdateNetworkPolicyParameters) -> list[Any]:
    rule, direction = parameters.rule, parameters.direction
    wanted = normal_rule(rule, direction)
    if any(fields.same(normal_rule(one, direction), wanted) for one in before):
        return list(before)
    return [*before, rule]


def _disallowed(before: Sequence[Any], parameters: UpdateNetworkPolicyParameters) -> list[Any]:
    direction = parameters.direction
    wanted = normal_rule(parameters.rule, direction)
    after = []
    for one in before:
        rule = normal_rule(one, direction)
        peers = rule[direction.peers]
        if not fields.same(rule["ports"], wanted["ports"]):
            after.append(one)
        elif not wanted[direction.peers]:
            after += [one] if peers else []
        else:
            gone = wanted[direction.peers][0]
            left = [peer for peer in peers if not fields.same(peer, gone)]
            if left == peers:
                after.append(one)
            elif left:
                after.append({**one, direction.peers: left})
    return after


def _still(after: Sequence[Any], parameters: UpdateNetworkPolicyParameters) -> str:
    """Tell of rules that still allow the peer."""
    direction = parameters.direction
    wanted = normal_rule(parameters.rule, direction)[direction.peers]
    left = [normal_rule(one, direction)[direction.peers] for one in after]
    count = sum(
        not peers or any(fields.same(peer, one) for peer in peers for one in wanted) for peers in left
    )
    return f" by that rule; {count} others still allow it, or everybody" if count else ""


def _told(parameters: UpdateNetworkPolicyParameters) -> str:
    who = fence.short(parameters.peer.manifest()) if parameters.peer is not None else "everybody"
    ports = ", ".join(port.told() for port in parameters.ports) or "all ports"
    return f"{who} on {ports}"


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
