"""The API server's own word on who changed what: its audit log, read as evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Their creates only ask: the answer is all that comes of them.
QUESTIONS = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
_WHERE = re.compile(r'in the namespace "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the API server saw it.

    Attributes:
        user: who acts: the impersonated account where there is one.
        by: who sent it.
        body: the request's object, where the audit level keeps it.
        answer: the response's object, likewise.
        refused_in: the namespace that a refusal speaks of, which may be of an account that can't be acted as.
    """

    verb: str
    user: str
    by: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    dry_run: bool
    body: dict[str, Any] | None
    answer: dict[str, Any] | None
    uri: str
    at: str
    refused_in: str = ""

    @property
    def what(self) -> str:
        """The resource with its subresource, as RBAC names it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def mutates(self) -> bool:
        return self.verb in MUTATING and self.group not in QUESTIONS

    @property
    def persisted(self) -> bool:
        """Whether an object was changed by it."""
        return self.mutates and 200 <= self.code < 300 and not self.dry_run

    @property
    def has_precondition(self) -> bool:
        """Whether a late resend of it could not have its effect a second time (docs/architecture.md)."""
        body = self.body or {}
        meta = body.get("metadata") or {}
        if self.verb == "create":
            if self.subresource == "eviction":
                return bool(((body.get("deleteOptions") or {}).get("preconditions") or {}).get("uid"))
            return bool(meta.get("name")) or bool(self.name)
        if self.verb == "delete":
            return bool((body.get("preconditions") or {}).get("uid"))
        # A server-side apply without the UID would create the object anew once it is gone.
        applied = "fieldManager=" in self.uri
        return bool(meta.get("resourceVersion")) and (not applied or bool(meta.get("uid")))


class AuditLog:
    """Reads an audit log from where it was last read.

    Attributes:
        begun: watches whose answer has begun; one that has ended is among the requests too.
    """

    def __init__(self, path: Path) -> None:
        self.begun: list[Request] = []
        self._path = path
        self._offset = path.stat().st_size

    def rewind(self) -> None:
        """Read from the beginning next time."""
        self._offset = 0

    def read(self) -> Iterator[Request]:
        """Yield the requests that were answered since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                event = json.loads(line)
                if event.get("stage") == "ResponseComplete":
                    yield _request(event)
                elif event.get("stage") == "ResponseStarted":
                    self.begun.append(_request(event))


def _request(event: dict[str, Any]) -> Request:
    ref = event.get("objectRef") or {}
    sender = (event.get("user") or {}).get("username", "")
    acted = (event.get("impersonatedUser") or {}).get("username", sender)
    uri = event.get("requestURI", "")
    return Request(
        verb=event.get("verb", ""),
        user=acted,
        by=sender,
        group=ref.get("apiGroup", ""),
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
        dry_run=_dry_run(event, uri),
        body=event.get("requestObject"),
        answer=event.get("responseObject"),
        uri=uri,
        at=event.get("requestReceivedTimestamp", ""),
        refused_in=_refused_in(event),
    )


def _refused_in(event: dict[str, Any]) -> str:
    found = _WHERE.search((event.get("responseStatus") or {}).get("message", ""))
    return found[1] if found else ""


def _dry_run(event: dict[str, Any], uri: str) -> bool:
    # Of a delete that has a body the API server reads no options from the query.
    if event.get("verb") == "delete" and event.get("requestObject"):
        return bool(event["requestObject"].get("dryRun"))
    return "dryRun=" in uri
