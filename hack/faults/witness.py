"""What the API server's audit log says that was done, read once for all operators and kept small."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.shapes.model import ACCOUNT, Manifest
from localrun.audit import AuditLog, Request

MARKER = "step.kubernaut.io/"
CREATED = "created.kubernaut.io/"
OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut-operator"
#: bodies that the audit log leaves out, because they may hold secrets, or hold only a question
_UNSEEN = {"configmaps", "secrets", "tokenreviews", "selfsubjectreviews", "subjectaccessreviews"}


@dataclass(frozen=True, slots=True)
class Act:
    """A change that was made to an object by a Workflow's account.

    Attributes:
        before, after: resourceVersions; ``before`` is the precondition, or None.
        marks: the marks of steps that the request wrote, by the run's UID.
        started: of a run that was created by a step: its UID, its parent's UID, and that step.
        created: of another object that was created by a step: the run's UID, and that step.
    """

    resource: str
    name: str
    before: str | None
    after: int
    marks: dict[str, Manifest]
    started: tuple[str, str, str] | None = None
    created: tuple[str, str] | None = None

    @property
    def changed(self) -> bool:
        """Whether the object is another one after the request."""
        return self.before is None or self.before != str(self.after)


@dataclass
class Testimony:
    """What was seen in one namespace."""

    acts: list[Act] = field(default_factory=list)
    unfenced: list[str] = field(default_factory=list)

    def forget(self, names: Collection[str]) -> None:
        """Forget what was done to objects, or to pods of objects, of these names."""
        self.acts = [act for act in self.acts if act.name not in names and _owner(act.name) not in names]


class Witness:
    """Reads the audit log for every namespace at once."""

    def __init__(self, path: Path) -> None:
        self._log = AuditLog(path)
        self._seen: dict[str, Testimony] = defaultdict(Testimony)

    def of(self, namespace: str) -> Testimony:
        """Return all that was seen in a namespace until now and not forgotten."""
        for request in self._log.read():
            self._take(request)
        return self._seen[namespace]

    def _take(self, request: Request) -> None:
        seen = self._seen[request.namespace]
        if request.by != OPERATOR or not request.mutates:
            return
        mine = request.user == f"system:serviceaccount:{request.namespace}:{ACCOUNT}"
        # A before-image that is kept is no effect: it changes nothing that anybody looks at.
        if mine and request.persisted and request.resource != "secrets":
            seen.acts.append(_act(request))
        refused_unread = request.body is None and request.code >= 400
        if request.resource not in _UNSEEN and not refused_unread and not request.has_precondition:
            seen.unfenced.append(f"{request.verb} {request.what} {request.namespace}/{request.name}")


def _act(request: Request) -> Act:
    asked = _meta(request.body)
    marks = {
        key.removeprefix(MARKER): json.loads(json.loads(value)["steps"])
        for key, value in (asked.get("annotations") or {}).items()
        if key.startswith(MARKER) and value is not None
    }
    before = asked.get("resourceVersion")
    after = int(_meta(request.answer).get("resourceVersion") or 0)
    known = None if before is None else str(before)
    created = next(
        (
            (key.removeprefix(CREATED), json.loads(value)["step"])
            for key, value in (asked.get("annotations") or {}).items()
            if key.startswith(CREATED) and request.verb == "create"
        ),
        None,
    )
    name = request.name or asked.get("name", "")
    return Act(request.resource, name, known, after, marks, _started(request), created)


def _started(request: Request) -> tuple[str, str, str] | None:
    parent = ((request.body or {}).get("spec") or {}).get("parent")
    if request.resource != "workflowexecutions" or request.verb != "create" or not parent:
        return None
    return _meta(request.answer)["uid"], parent["uid"], parent["step"]


def _meta(body: Manifest | None) -> dict[str, Any]:
    return (body or {}).get("metadata") or {}


def _owner(pod: str) -> str:
    """Return the name of the Deployment that a pod's name tells."""
    return pod.rsplit("-", 2)[0]
