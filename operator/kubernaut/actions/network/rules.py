"""Peers and ports of a NetworkPolicy's rules: as parameters give them, as the API server writes them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kubernaut.core.action import ActionParameters

# Networks of fewer bits than these are nearly everybody.
_FEW_BITS: Final = {4: 8, 6: 16}


class Direction(StrEnum):
    """Which way traffic goes, seen from the pods that the policy selects."""

    INGRESS = "Ingress"
    EGRESS = "Egress"

    @property
    def field(self) -> str:
        """The field of the policy's spec that holds its rules; also the word within a sentence."""
        return self.value.lower()

    @property
    def peers(self) -> str:
        """The field of a rule that holds its peers; also the word that goes before one."""
        return "from" if self is Direction.INGRESS else "to"


class Protocol(StrEnum):
    """What NetworkPolicies know of."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write one such as 10.1.0.0/16") from None
    return text


Cidr = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=317)]
_Text = Annotated[str, StringConstraints(max_length=63)]
Labels = Annotated[dict[_Key, _Text], Field(max_length=16)]
Number = Annotated[int, Field(ge=1, le=65535)]
PortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=15)]


class Peer(ActionParameters):
    """Pods, all pods of namespaces, or addresses."""

    pod_labels: Annotated[Labels | None, Field(description="Labels of pods; none means all pods.")] = None
    namespace_labels: Annotated[
        Labels | None, Field(description="Labels of namespaces; none means all namespaces.")
    ] = None
    cidr: Annotated[Cidr | None, Field(description="A network of addresses, such as 10.1.0.0/16.")] = None
    except_: Annotated[
        tuple[Cidr, ...],
        Field(alias="except", max_length=16, description="Networks within `cidr` that are left out."),
    ] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        labelled = self.pod_labels is not None or self.namespace_labels is not None
        if labelled == (self.cidr is not None):
            raise ValueError("set either cidr, or podLabels, namespaceLabels or both")
        if self.except_ and self.cidr is None:
            raise ValueError("except needs cidr")
        return self

    def manifest(self) -> dict[str, Any]:
        """Return the peer as the API server writes it."""
        if self.cidr is not None:
            left_out = {"except": list(self.except_)} if self.except_ else {}
            return {"ipBlock": {"cidr": self.cidr, **left_out}}
        parts = {"namespaceSelector": self.namespace_labels, "podSelector": self.pod_labels}
        return {
            field: {"matchLabels": dict(labels)} if labels else {}
            for field, labels in parts.items()
            if labels is not None
        }


class Port(ActionParameters):
    """One port, or a range of them."""

    port: Annotated[Number | PortName, Field(description="Number, or name of a container's port.")]
    end_port: Annotated[Number | None, Field(description="The last of a range that begins at `port`.")] = None
    protocol: Annotated[Protocol, Field(description="TCP, UDP or SCTP.")] = Protocol.TCP

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.end_port is not None and (isinstance(self.port, str) or self.end_port < self.port):
            raise ValueError("endPort needs a port that is a number, and not above it")
        return self

    def manifest(self) -> dict[str, Any]:
        """Return the port as the API server writes it."""
        last = {"endPort": self.end_port} if self.end_port is not None else {}
        return {"protocol": self.protocol.value, "port": self.port, **last}

    def told(self) -> str:
        """Return the port as people write it."""
        last = f"-{self.end_port}" if self.end_port is not None else ""
        return f"{self.protocol.value} {self.port}{last}"


def is_everybody(peer: Peer | None) -> bool:
    """Whether a peer is everybody, or nearly so."""
    if peer is None:
        return True
    if peer.cidr is not None:
        network = ipaddress.ip_network(peer.cidr)
        return network.prefixlen < _FEW_BITS[network.version]
    return peer.namespace_labels == {} and not peer.pod_labels


def normal_ports(ports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ports with the defaults that the API server sets, in an order of their own."""
    filled = [{"protocol": "TCP", **port} for port in ports]
    return sorted(
        filled, key=lambda port: (port["protocol"], str(port.get("port")), port.get("endPort") or 0)
    )


def normal_rule(rule: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    """Return a rule so that rules which say the same are equal."""
    peers = rule.get(direction.peers) or []
    return {direction.peers: list(peers), "ports": normal_ports(rule.get("ports") or ())}
