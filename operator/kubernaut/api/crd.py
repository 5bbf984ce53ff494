"""The three CustomResourceDefinitions, put together from the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kubernaut.api.base import ApiModel
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import CATEGORY, GROUP, LABEL_PART_OF, VERSION
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.api.schema import structural_schema
from kubernaut.api.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; priority 1 is shown with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    def manifest(self) -> dict[str, Any]:
        """Return the column as the CustomResourceDefinition has it."""
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return column | ({"priority": self.priority} if self.priority else {})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ours: its model and how people type and see it."""

    model: type[ApiModel]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.model.__name__

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

WORKFLOW: Final = Kind(
    Workflow,
    "workflows",
    "kwf",
    (
        Column("Ready", _condition("Ready", "status")),
        Column("Reason", _condition("Ready", "reason")),
        Column("Permissions", _condition("PermissionsReady", "status")),
        Column("Account", ".spec.serviceAccountName"),
        Column("Target", ".spec.target.kind"),
        Column("Version", ".spec.version", priority=1),
        Column("Message", _condition("Ready", "message"), priority=1),
        _AGE,
    ),
)
EXECUTION: Final = Kind(
    WorkflowExecution,
    "workflowexecutions",
    "kwfe",
    (
        Column("Workflow", ".spec.workflowRef.name"),
        Column("Phase", ".status.phase"),
        Column("Progress", ".status.progress"),
        Column("Target", ".status.target.name"),
        Column("Verdict", ".status.verdict"),
        Column("Reason", ".status.reason", priority=1),
        Column("Message", ".status.message", priority=1),
        _AGE,
    ),
    selectable=(".status.phase", ".spec.workflowRef.name"),
)
PATTERN: Final = Kind(
    DiscoveredPattern,
    "discoveredpatterns",
    "kdp",
    (
        Column("Support", ".status.support", "integer"),
        Column("Success", ".status.success.rate", "number"),
        Column("Recommended", ".status.recommended.workflow"),
        Column("Signature", ".status.signature.summary"),
        Column("Muted", ".spec.muted", "boolean", priority=1),
        Column("Last-Seen", ".status.lastSeen", "date", priority=1),
        _AGE,
    ),
)
KINDS: Final = (WORKFLOW, EXECUTION, PATTERN)


def _object_schema(kind: Kind) -> dict[str, Any]:
    schema = structural_schema(kind.model)
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    # It has one writer: who owns which of its fields would be half of a run's size, and be stored with each write.
    schema["properties"]["status"]["x-kubernetes-map-type"] = "atomic"
    return schema


def crd_manifest(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.manifest() for column in kind.columns],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    version["schema"] = {"openAPIV3Schema": _object_schema(kind)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": {LABEL_PART_OF: "kubernaut"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }
