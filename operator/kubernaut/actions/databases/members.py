"""A replicated database as a step sees it: who leads, who follows, and which of them can be relied on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from kubernaut.actions import pods
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters
from kubernaut.core.errors import StepError
from kubernaut.core.ports import ObjectRef


class DatabaseManager(StrEnum):
    """What keeps the database."""

    CLOUD_NATIVE_PG = "CloudNativePG"
    PATRONI = "Patroni"


class PatroniObjects(StrEnum):
    """Where Patroni keeps its state: `use_endpoints: true` means Endpoints."""

    ENDPOINTS = "Endpoints"
    CONFIG_MAPS = "ConfigMap"


class DatabaseParameters(ActionParameters):
    """Parameters that name a database."""

    manager: Annotated[DatabaseManager, Field(description="What keeps it, and says who leads.")] = (
        DatabaseManager.CLOUD_NATIVE_PG
    )
    name: Annotated[
        DnsName | None,
        Field(
            description="The CloudNativePG `Cluster`, or Patroni's scope; by default the name of the run's target."
        ),
    ] = None
    patroni_objects: Annotated[
        PatroniObjects, Field(description="With Patroni: the kind of object that it keeps its state in.")
    ] = PatroniObjects.ENDPOINTS
    scope_label: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9][-A-Za-z0-9_.]*$",
            max_length=253,
            description="With Patroni: the label of its pods that holds the scope (`kubernetes.scope_label`).",
        ),
    ] = "cluster-name"


@dataclass(frozen=True, slots=True)
class Member:
    """One instance.

    Attributes:
        name: of its pod, too.
        unfit: why it can't be relied on now, in words; empty where it can.
        lag: how many bytes of the log it is behind, as last told; None where nobody tells.
        pod: as read; None where there is none.
    """

    name: str
    primary: bool
    unfit: str
    lag: int | None = None
    pod: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A database at one moment.

    Attributes:
        ref: the object that says who leads, UID included.
        primary: who leads; empty where nobody does.
        epoch: changes whenever the lead changes or is asked to.
        busy: what is under way, in words; empty where nothing is.
        members: by name.
        labels: those that its own objects carry.
    """

    ref: ObjectRef
    primary: str
    epoch: str
    busy: str
    members: Sequence[Member]
    labels: Mapping[str, str]

    def member(self, name: str) -> Member | None:
        """Return the instance of this name, or None."""
        return next((one for one in self.members if one.name == name), None)

    @property
    def primary_trouble(self) -> str:
        """Why the primary can't be relied on; empty where it can."""
        if not self.primary:
            return "nobody leads"
        leads = self.member(self.primary)
        return f"the primary {self.primary} is not there" if leads is None else leads.unfit


def pod_trouble(pod: Mapping[str, Any]) -> str:
    """Return why the pod of an instance can't be relied on, or nothing."""
    if pod["metadata"].get("deletionTimestamp"):
        return "its pod is being deleted"
    return "" if pods.ready(pod) else "its pod is not ready"


def candidate(view: View, wanted: str | None, most_lag: int | None) -> Member:
    """Return the replica that is to lead: the one named, else the fit one that is least behind, then by name.

    Args:
        most_lag: how many bytes it may be behind at most, and that has to be told; None where nobody tells.

    Raises:
        StepError: PreconditionFailed, with what is wrong with each.
    """
    replicas = [one for one in view.members if not one.primary and wanted in (None, one.name)]
    if not replicas:
        what = f"{wanted} is no replica of it" if wanted else "it has no replica"
        raise StepError(f"{view.ref}: {what}; nothing was done", reason=Reason.PRECONDITION_FAILED)
    troubles = {one.name: one.unfit or _too_far(one, most_lag) for one in replicas}
    fit = [one for one in replicas if not troubles[one.name]]
    if not fit:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(troubles.items()))
        raise StepError(
            f"{view.ref}: no replica can take over: {told}; nothing was done",
            reason=Reason.PRECONDITION_FAILED,
        )
    return min(fit, key=lambda one: (one.lag or 0, one.name))


def _too_far(member: Member, most_lag: int | None) -> str:
    if most_lag is None:
        return ""
    if member.lag is None:
        return "how far it is behind is not known"
    return f"it is {member.lag} bytes behind, at most {most_lag} are allowed" if member.lag > most_lag else ""
