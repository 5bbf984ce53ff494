"""The tree of errors that effects can end in. Every one says what happened, to which object, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.api.reasons import REASONS, Reason


class KubernautError(Exception):
    """The root of all errors that Kubernaut raises on purpose."""


class StepError(KubernautError):
    """A step could not do its work; carries the reason that its record shows."""

    reason: Reason = Reason.INTERNAL

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason

    @property
    def transient(self) -> bool:
        """Whether trying the same again later may help."""
        info = REASONS.get(self.reason)
        return info is not None and info.transient


class EffectFailed(StepError):
    """An effect happened, and failed at what it was for.

    Attributes:
        outputs: what it gave all the same.
    """

    def __init__(self, message: str, *, reason: Reason, outputs: Mapping[str, Any]) -> None:
        super().__init__(message, reason=reason)
        self.outputs = outputs


class Unfinished(StepError):
    """What a step began goes on by itself: it is to be performed again a little later, as the same attempt.

    Only actions with ``core.action.Halts`` may raise it: what they began is put back where they can't go on.

    Attributes:
        progress: how far it is, as in 3/7.
        changed: one sentence for each change so far.
    """

    reason = Reason.IN_PROGRESS

    def __init__(self, message: str, *, progress: str = "", changed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.progress = progress
        self.changed = changed


class ClusterError(StepError):
    """The API server refused a request, or no answer was had.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        retry_after: seconds the server asked to wait, or None.
    """

    reason = Reason.REJECTED

    def __init__(
        self, message: str, *, status: int = 0, retry_after: float | None = None, reason: Reason | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.retry_after = retry_after


class Forbidden(ClusterError):
    """403: the account lacks a right; the message names account, verb and resource."""

    reason = Reason.MISSING_RIGHT


class MayNotActAs(Forbidden):
    """403: the operator may not act as the account; says what lets it."""


class NotFound(ClusterError):
    """404: the object does not exist."""

    reason = Reason.NOT_FOUND


class NoSuchKind(NotFound):
    """404: the cluster has no such kind; it may be installed later."""


class AlreadyExists(ClusterError):
    """409 AlreadyExists on a create."""

    reason = Reason.CONFLICT


class OfLaterVersion(ClusterError):
    """What is stored has fields that only a later version of Kubernaut knows: it can be read once that is back."""

    reason = Reason.PRECONDITION_FAILED


class Conflict(ClusterError):
    """409 Conflict: the object changed since it was read, or its UID is another."""

    reason = Reason.CONFLICT


class OwnedByOthers(ClusterError):
    """409 of a server-side apply: others own fields that would get other values.

    Attributes:
        managers: the names of those others.
    """

    reason = Reason.FIELDS_OWNED_BY_OTHERS

    def __init__(self, message: str, *, managers: frozenset[str] = frozenset()) -> None:
        super().__init__(message, status=409)
        self.managers = managers


class Invalid(ClusterError):
    """400 or 422: the API server does not accept the object."""


class TooManyRequests(ClusterError):
    """429: slow down; for an eviction, a disruption budget refuses."""

    reason = Reason.UNAVAILABLE


class Unavailable(ClusterError):
    """The server is away, resets, or answers 5xx; the request certainly had no effect."""

    reason = Reason.UNAVAILABLE


class UnknownOutcome(ClusterError):
    """A mutating request was sent and its answer lost: it may or may not have had its effect."""

    reason = Reason.UNKNOWN_OUTCOME
