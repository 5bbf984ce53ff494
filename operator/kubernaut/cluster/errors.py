"""From answers of the API server, and from the lack of one, to ``core.errors``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from kubernaut.api.reasons import Reason
from kubernaut.cluster.call import Call, Unfenced
from kubernaut.core.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    MayNotActAs,
    NoSuchKind,
    NotFound,
    OwnedByOthers,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.redacting import refusal

__all__ = ["Expired", "Unfenced", "from_answer", "no_answer", "not_sent", "parse_status", "parsed"]

# RBAC's own words (k8s.io/apiserver, ForbiddenStatus); other 403s come from admission, and no Role mends them.
_RBAC: Final = re.compile(r'User "(?P<user>[^"]+)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)"')
_ACCOUNT: Final = "system:serviceaccount:"
# So managers are named in the causes of a conflict (structured-merge-diff, Conflict.Error).
_MANAGER: Final = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
#: the API server asks to wait for seconds; what stands before it, while it is mended, may ask for hours
LONGEST_WAIT: Final = 60.0


class Expired(ClusterError):
    """410: the resourceVersion or continue token is too old; list again.

    Attributes:
        resume: a token with which a paged list can go on from a newer state; empty where there is none.
    """

    reason = Reason.UNAVAILABLE

    def __init__(self, message: str, *, resume: str = "") -> None:
        super().__init__(message, status=410)
        self.resume = resume


def parse_status(data: bytes) -> Mapping[str, Any]:
    """Return the ``Status`` object of an answer; an empty one where the answer is something else."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}


def parsed(call: Call, data: bytes) -> Any:
    """Return the JSON of a success.

    Raises:
        ClusterError: it is none, as from a proxy that answers for the API server; as if there were no answer.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise no_answer(call, "the API server", error) from error


def from_answer(
    call: Call, code: int, headers: Mapping[str, str], data: bytes, account: str = ""
) -> ClusterError:
    """Return the error for an answer that is not a success."""
    status = parse_status(data)
    told = str(status.get("message") or data[:500].decode(errors="replace").strip() or f"HTTP {code}")
    told = refusal(told)[:1500]
    wait = _seconds(headers.get("Retry-After"), status)
    match code:
        case 401:
            message = f"{call}: the API server does not accept our credentials ({told}); log in again"
            return Unavailable(message, status=401)
        case 403:
            return _forbidden(call, told, account)
        case 404:
            return _not_found(call, told, known=bool(status))
        case 409 if status.get("reason") == "AlreadyExists":
            return AlreadyExists(f"{call}: it exists already ({told})", status=409)
        case 409 if managers := _managers(status):
            return OwnedByOthers(f"{call}: {told}", managers=managers)
        case 409:
            return Conflict(f"{call}: it changed since it was read ({told})", status=409)
        case 410:
            resume = (status.get("metadata") or {}).get("continue", "")
            return Expired(f"{call}: what was read is too old ({told})", resume=resume)
        case 429:
            return TooManyRequests(f"{call}: not now ({told})", status=429, retry_after=wait)
        case _ if code >= 500:
            return _server_error(call, code, told, wait, answered=bool(status))
        case _ if code in (400, 413, 422):
            return Invalid(f"{call}: the API server refuses it: {told}", status=code)
        case _:
            return ClusterError(f"{call}: HTTP {code}: {told}", status=code)


def _managers(status: Mapping[str, Any]) -> frozenset[str]:
    """Return whose fields a server-side apply would change; none where it was refused for another reason."""
    causes = (status.get("details") or {}).get("causes") or ()
    told = [str(one.get("message")) for one in causes if one.get("reason") == "FieldManagerConflict"]
    return frozenset(found[1] if (found := _MANAGER.search(text)) else text for text in told)


def _server_error(call: Call, code: int, told: str, wait: float | None, *, answered: bool) -> ClusterError:
    # After 500, 502 and 504 a write may have happened: etcd's time-outs come as 500, the server's own as 504.
    # A 503 that the API server itself wrote refused the request; one of a proxy may mean a lost answer.
    refused = code == 503 and answered
    if not call.mutates or call.dry_run or refused:
        message = f"{call}: the API server is not well: HTTP {code}: {told}"
        return Unavailable(message, status=code, retry_after=wait)
    message = f"{call}: HTTP {code} ({told}); it may or may not have happened"
    return UnknownOutcome(message, status=code, retry_after=wait)


def _forbidden(call: Call, told: str, account: str) -> ClusterError:
    said = _RBAC.search(told)
    if said is None:
        message = f"{call}: refused by admission: {told}"
        return ClusterError(message, status=403, reason=Reason.REJECTED)
    who = said["user"]
    # Since 1.36 the server names a verb of constrained impersonation (impersonate-on:serviceaccount:get) instead.
    if said["verb"].startswith("impersonate"):
        message = (
            f"{call}: {who} may not act as {account.removeprefix(_ACCOUNT).replace(':', '/')}: it lacks verb "
            f"impersonate on that ServiceAccount; add its name to the operator's impersonation Role in namespace "
            f"{account.split(':')[2] if account.count(':') >= 3 else call.namespace}"
        )
        return MayNotActAs(message, status=403)
    resource = call.resource.rbac_name
    if call.subresource:
        plural, _, group = resource.partition(".")
        resource = f"{plural}/{call.subresource}" + (f".{group}" if group else "")
    where = f"in namespace {call.namespace}" if call.namespace else "in the whole cluster"
    role = "Role" if call.namespace else "ClusterRole"
    message = (
        f"{call}: {who} may not {said['verb']} {resource} {where}; "
        f"add verb {said['verb']} on {resource} to a {role} bound to it"
    )
    return Forbidden(message, status=403)


def _not_found(call: Call, told: str, *, known: bool) -> NotFound:
    # For a path that it does not serve the API server answers in plain text, not with a Status.
    if not known or "could not find the requested resource" in told:
        message = f"{call}: the cluster has no {call.resource.rbac_name}; install what defines it"
        return NoSuchKind(message, status=404)
    return NotFound(f"{call}: it does not exist ({told})", status=404)


def _seconds(header: str | None, status: Mapping[str, Any]) -> float | None:
    if header is not None:
        # The API server sends seconds; a date (RFC 9110) is not worth a clock here.
        return min(float(header), LONGEST_WAIT) if header.isascii() and header.isdigit() else 1.0
    seconds = (status.get("details") or {}).get("retryAfterSeconds")
    return min(float(seconds), LONGEST_WAIT) if isinstance(seconds, int) else None


def not_sent(call: Call, host: str, error: BaseException) -> Unavailable:
    """Return the error for a request that certainly did not leave: no connection could be had."""
    return Unavailable(f"{call}: no connection to the API server {host}: {_told(error)}")


def no_answer(call: Call, host: str, error: BaseException) -> ClusterError:
    """Return the error for a request that was, or may have been, sent and got no whole answer."""
    if call.mutates and not call.dry_run:
        message = f"{call}: no answer from {host} ({_told(error)}); it may or may not have happened"
        return UnknownOutcome(message)
    return Unavailable(f"{call}: no answer from {host}: {_told(error)}")


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
