from __future__ import annotations

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.cluster.call import Call
from kubernaut.cluster.errors import Expired, from_answer
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.core.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    MayNotActAs,
    NotFound,
    OwnedByOthers,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from unit.cluster.wire import Reply, status

DEPLOYMENT = WELL_KNOWN["apps/v1", "Deployment"]
READ = Call("get", DEPLOYMENT, "shop", "web")
WRITE = Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"resourceVersion": "7"}})
DRY = Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"resourceVersion": "7"}}, dry_run=True)
REPAIR = "system:serviceaccount:shop:repair"


def answer(call: Call, reply: Reply, account: str = "") -> ClusterError:
    body = reply.encoded().split(b"\r\n\r\n", 1)[1]
    return from_answer(call, reply.code, reply.headers, body, account)


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (status(404, "NotFound"), NotFound, Reason.NOT_FOUND),
        (status(409, "AlreadyExists"), AlreadyExists, Reason.CONFLICT),
        (status(409, "Conflict"), Conflict, Reason.CONFLICT),
        (status(400, "BadRequest"), Invalid, Reason.REJECTED),
        (status(413, "RequestEntityTooLarge"), Invalid, Reason.REJECTED),
        (status(422, "Invalid"), Invalid, Reason.REJECTED),
        (status(429, "TooManyRequests"), TooManyRequests, Reason.UNAVAILABLE),
        (status(410, "Expired"), Expired, Reason.UNAVAILABLE),
        (status(503, "ServiceUnavailable"), Unavailable, Reason.UNAVAILABLE),
        (status(401, "Unauthorized"), Unavailable, Reason.UNAVAILABLE),
        (status(418, "Teapot"), ClusterError, Reason.REJECTED),
    ],
)
def test_each_answer_has_its_error(reply: Reply, kind: type[ClusterError], reason: Reason) -> None:
    error = answer(WRITE, reply)
    assert type(error) is kind
    assert error.reason is reason
    assert error.status == reply.code
    assert "Deployment shop/web" in str(error)


@pytest.mark.parametrize("code", [500, 502, 504])
def test_after_a_server_error_only_a_write_may_have_happened(code: int) -> None:
    reply = status(code, "InternalError", "etcdserver: request timed out")
    assert type(answer(WRITE, reply)) is UnknownOutcome
    assert type(answer(READ, reply)) is Unavailable
    assert type(answer(DRY, reply)) is Unavailable


def test_a_503_of_a_proxy_may_hide_an_effect_and_one_of_the_server_does_not() -> None:
    proxy = Reply(503, b"upstream connect error or disconnect/reset before headers")
    assert type(answer(WRITE, proxy)) is UnknownOutcome
    assert type(answer(WRITE, status(503, "ServiceUnavailable"))) is Unavailable


def test_a_missing_right_is_told_with_account_verb_resource_namespace_and_fix() -> None:
    said = (
        f'deployments.apps "web" is forbidden: User "{REPAIR}" cannot patch resource "deployments" '
        'in API group "apps" in the namespace "shop"'
    )
    error = answer(WRITE, status(403, "Forbidden", said), REPAIR)
    assert type(error) is Forbidden
    assert error.reason is Reason.MISSING_RIGHT
    assert str(error) == (
        f"patch Deployment shop/web: {REPAIR} may not patch deployments.apps in namespace shop; "
        "add verb patch on deployments.apps to a Role bound to it"
    )


def test_a_missing_right_on_a_subresource_names_the_subresource() -> None:
    call = Call("patch", DEPLOYMENT, "shop", "web", subresource="status", body={})
    said = 'x is forbidden: User "bob" cannot patch resource "deployments/status" in API group "apps"'
    assert "bob may not patch deployments/status.apps in namespace shop" in str(
        answer(call, status(403, "Forbidden", said))
    )


@pytest.mark.parametrize(
    "cannot",
    [
        'impersonate resource "serviceaccounts" in API group ""',
        'impersonate-on:serviceaccount:patch resource "deployments" in API group "apps"',
    ],
)
def test_a_missing_right_to_impersonate_is_the_operators_to_mend(cannot: str) -> None:
    operator = "system:serviceaccount:kubernaut-system:kubernaut-operator"
    said = f'x is forbidden: User "{operator}" cannot {cannot} in the namespace "shop"'
    error = answer(WRITE, status(403, "Forbidden", said), REPAIR)
    assert type(error) is MayNotActAs
    assert "may not act as shop/repair" in str(error)
    assert "impersonate" in str(error)
    assert "namespace shop" in str(error)


def test_what_admission_refuses_is_no_missing_right() -> None:
    said = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    error = answer(WRITE, status(403, "Forbidden", said))
    assert type(error) is ClusterError
    assert error.reason is Reason.REJECTED
    assert "exceeded quota" in str(error)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (Reply(429, b"slow down", {"Retry-After": "7"}), 7.0),
        (Reply(503, b"", {"Retry-After": "3"}), 3.0),
        (Reply(429, b"", {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}), 1.0),
        # As a load balancer says it while it is mended: the API server may be back long before.
        (Reply(503, b"", {"Retry-After": "3600"}), 60.0),
        (status(503, "ServiceUnavailable", details={"retryAfterSeconds": 3600}), 60.0),
        (Reply(429, b"", {"Retry-After": "\u00b2"}), 1.0),
        (status(429, "TooManyRequests", details={"retryAfterSeconds": 10}), 10.0),
        (Reply(429, b""), None),
    ],
)
def test_how_long_to_wait_is_read(reply: Reply, seconds: float | None) -> None:
    assert answer(WRITE, reply).retry_after == seconds


def test_a_kind_that_the_server_does_not_serve_is_told_from_an_object_that_is_not_there() -> None:
    assert "has no deployments.apps" in str(answer(READ, Reply(404, b"404 page not found\n")))
    assert "it does not exist" in str(
        answer(READ, status(404, "NotFound", 'deployments.apps "web" not found'))
    )


def test_a_list_that_took_too_long_can_be_resumed() -> None:
    error = answer(READ, status(410, "Expired", metadata={"continue": "abc"}))
    assert isinstance(error, Expired)
    assert error.resume == "abc"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"\xff\xfe", b'{"kind":"Status"}', b"x" * 10_000])
def test_any_body_gives_a_bounded_message(body: bytes) -> None:
    error = from_answer(WRITE, 500, {}, body)
    assert 0 < len(str(error)) < 2000


def test_an_apply_that_meets_the_fields_of_others_tells_whose_they_are() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": 'conflict with "kubectl"'},
        {
            "reason": "FieldManagerConflict",
            "field": ".spec.paused",
            "message": 'conflict with "helm" using apps/v1',
        },
    ]
    body = {
        "kind": "Status",
        "status": "Failure",
        "reason": "Conflict",
        "message": "Apply failed with 2 conflicts: .spec.replicas, .spec.paused",
        "details": {"causes": causes},
    }
    error = answer(WRITE, Reply(409, body))
    assert isinstance(error, OwnedByOthers)
    assert error.managers == {"kubectl", "helm"}
    assert error.reason is Reason.FIELDS_OWNED_BY_OTHERS
    assert ".spec.replicas" in str(error)
