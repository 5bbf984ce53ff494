"""Several operators on one control plane, each with a namespace to repair and a system namespace of its own.

Each believes that it is the only one and that its cluster holds one tenant: the proxy before it turns what it lists
and watches clusterwide to its own namespace, and ``kubernaut-system`` to its own system namespace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from faults.wire import Exchange
from kubernaut.api.names import SYSTEM_NAMESPACE

_CLUSTERWIDE = re.compile(
    r"^(/api/v1|/apis/[^/]+/[^/]+)/"
    r"((?:workflows|workflowexecutions|replicasets|controllerrevisions|leases)(?:\?.*)?)$"
)
_LENGTH = re.compile(rb"(?i)(content-length: *)\d+")


@dataclass(frozen=True)
class Place:
    """What of a control plane belongs to one operator."""

    namespace: str
    system: str

    @classmethod
    def numbered(cls, number: int) -> Place:
        """Return one of several places."""
        return cls(f"faults-{number}", f"{SYSTEM_NAMESPACE}-{number}")

    def turned(self, exchange: Exchange) -> Exchange:
        """Return a request as it must be sent for the operator to see its own place only."""
        path = _CLUSTERWIDE.sub(rf"\1/namespaces/{self.namespace}/\2", exchange.path)
        path = re.sub(rf"/namespaces/{SYSTEM_NAMESPACE}(?=[/?]|$)", f"/namespaces/{self.system}", path)
        if path == exchange.path:
            return exchange
        body = exchange.body.replace(
            f'"namespace":"{SYSTEM_NAMESPACE}"'.encode(), f'"namespace":"{self.system}"'.encode()
        )
        line, rest = exchange.head.split(b"\r\n", 1)
        head = line.replace(exchange.path.encode(), path.encode(), 1) + b"\r\n" + rest
        if len(body) != len(exchange.body):
            head = _LENGTH.sub(rb"\g<1>%d" % len(body), head)
        return replace(exchange, path=path, head=head, body=body)
