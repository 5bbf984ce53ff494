"""``http_request``: one HTTP request to somebody else than the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions.guards import secretive_path
from kubernaut.actions.jobs.job_spec import SecretKey
from kubernaut.actions.outside import requests
from kubernaut.actions.outside.requests import HeaderName, HeaderValue, RequestTimeout, SecretHeaders, Url
from kubernaut.actions.pinned_target import WhenTargetGone, demand_target, target_rights
from kubernaut.actions.probing import NothingToSee
from kubernaut.api.base import Identifier
from kubernaut.api.reasons import Reason
from kubernaut.core import fields, limits
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import EffectFailed, StepError
from kubernaut.core.ports import Cluster, HttpAnswer, HttpRequest, ObjectRef, Right
from kubernaut.core.probing import Probed, Sight, unknown

MAX_BODY: Final = 32 * 1024
MAX_VALUE: Final = 1024
_MOST: Final = 64 * 1024


class Method(StrEnum):
    """How it is asked; the first two change nothing."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"

    @property
    def reads(self) -> bool:
        """Whether it is safe, as RFC 9110 calls what asks for no change."""
        return self in (Method.GET, Method.HEAD)


class SecretField(ActionParameters):
    """A field of the body whose value is in a Secret of the run's namespace."""

    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=256),
        Field(description="Path of the field, as in routing_key or event.token."),
    ]
    secret_key_ref: Annotated[SecretKey, Field(description="The Secret's key that holds the value.")]


class HttpRequestParameters(ActionParameters):
    """Parameters of ``http_request``."""

    url: Annotated[Url | None, Field(description="Where it goes, as in `https://example.com/hook`.")] = None
    url_from: Annotated[
        SecretKey | None,
        Field(
            description="The key of a Secret that holds the URL (`name`, `key`), where that is itself a secret; in "
            "place of `url`."
        ),
    ] = None
    method: Annotated[Method, Field(description="How it is asked.")] = Method.POST
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        Field(max_length=16, description="Headers, by name; none whose value may be a secret."),
    ] = Field(default_factory=dict)
    headers_from: SecretHeaders = ()
    body: Annotated[
        JsonValue,
        Field(
            description="A text, which is sent as it is, or anything else, which is sent as JSON; at most 32 KiB."
        ),
    ] = None
    body_from: Annotated[
        tuple[SecretField, ...],
        Field(
            max_length=4,
            description="Fields of a body that is sent as JSON, whose values are in Secrets: `path`, as in "
            "`routing_key`, and `secretKeyRef` (`name`, `key`).",
        ),
    ] = ()
    expect_status: Annotated[
        tuple[Annotated[int, Field(ge=200, le=599)], ...],
        Field(max_length=16, description="Statuses that mean success; by default 200 to 299."),
    ] = ()
    request_timeout: Annotated[
        RequestTimeout, Field(description="How long one request may take, from 100ms to 60s.")
    ] = timedelta(seconds=10)
    extract: Annotated[
        dict[
            Annotated[Identifier, Field()],
            Annotated[str, StringConstraints(min_length=1, max_length=256)],
        ],
        Field(
            max_length=8,
            description="What becomes an output: its name, and the path of its field in the JSON of the answer, as "
            "in `result.id`; at most 1 KiB each, of an answer of at most 64 KiB, and none that repeats a secret "
            "that was sent. Of the rest nothing is kept.",
        ),
    ] = Field(default_factory=dict)
    when_target_gone: Annotated[
        WhenTargetGone,
        Field(
            description="Where the run's target was deleted, or made anew, before the request: send nothing "
            "(`Refuse`), or send it (`Act`)."
        ),
    ] = WhenTargetGone.ACT

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.url is None) == (self.url_from is None):
            raise ValueError("set exactly one of url and urlFrom")
        for name in self.headers:
            requests.demand_no_secret(name)
        names = [name.lower() for name in (*self.headers, *(one.name for one in self.headers_from))]
        if len(set(names)) != len(names):
            raise ValueError("headers and headersFrom name one twice")
        for name, text in self.extract.items():
            if secretive_path((*fields.parse(text), name)):
                raise ValueError(
                    f"extract.{name}: {text} may be a secret, and outputs are told in the run's status; leave it out"
                )
        self._check_body()
        query = parse_qsl(urlsplit(self.url or "").query, keep_blank_values=True)
        for name in (name for name, _ in query if secretive_path((name,))):
            raise ValueError(
                f"url: {name} in its query may be a secret, and the Workflow would tell it; put the whole URL into a "
                "Secret and name that under urlFrom"
            )
        return self

    def _check_body(self) -> None:
        if self.method.reads and (self.body is not None or self.body_from):
            raise ValueError(f"body: {self.method} has none")
        if self.body_from and not isinstance(self.body, dict | None):
            raise ValueError("bodyFrom: fields can be put into a map alone, as body: {}")
        for one in self.body_from:
            fields.parse(one.path)
        if not _tellable(self.body):
            raise ValueError(
                "body: a field of it may be a secret, and the Workflow would tell it; put its value into a Secret, "
                "and name that under bodyFrom"
            )
        if (size := len(_written(self.body))) > MAX_BODY:
            raise ValueError(f"body takes {size} bytes; at most {MAX_BODY} are sent")


class SendHttpRequest(NothingToSee):
    """Sends one HTTP request from the operator, and says what came of it.

    Nobody can fence such a request: whether one whose answer was lost had its effect is known to its receiver alone.
    So that it is about to be sent is stored in the run first (its intent, one more write), and what follows where the
    outcome is not known is the step's `onUnknown`: `Fail` (the default) ends the step with `UnknownOutcome`, and
    nothing is sent a second time; `Retry` sends it again. Either way each request of the step's attempt carries the
    same `Idempotency-Key`, which follows from run, step and attempt: a receiver that heeds it does it once. GET and
    HEAD change nothing and are sent again. A request that found no connection was not sent; it is tried again until
    the step's timeout is over. An answer is an outcome: one of another status than expected fails the step with
    `UnexpectedAnswer`, and the step's `retry` then sends a new request under a new key.

    It is sent whatever became of the run's target, for most requests tell somebody, or let something go on, and must
    be sent just when a repair found nothing to repair. One that does something to the target itself says
    `whenTargetGone: Refuse`: where that was deleted or made anew since the run pinned it, nothing is sent, and the
    step fails with `TargetNotFound` or `TargetReplaced`. It looks at nothing else in the cluster: whether it is still
    needed is for the step's `when` to say, which is asked right before, of the target as it is then.

    Secrets come by reference and are read as the Workflow's account. Told is nothing but the host, the status, and
    what `extract` names: neither headers, nor the body, nor the path or query of the URL.

    Where it may go is the operator's to say: `KUBERNAUT_HTTP_HOSTS` lists hosts; unset, any but the operator's own
    machine, link-local addresses (where clouds keep their metadata) and the API server, for a Workflow must not reach
    what only the operator can. What a name leads to is looked at before, and what was looked at is connected to;
    redirects are not followed. TLS is checked against the certificates of the operator's image. A dry run of the
    Workflow sends GET and HEAD alone.
    """

    name: ClassVar = "http_request"
    summary: ClassVar = "Send one HTTP request, and check its answer"
    risk: ClassVar = Risk.HIGH
    idempotency: ClassVar = Idempotency.INTENT
    parameters = HttpRequestParameters
    example: ClassVar = {
        "url": "https://hooks.example.com/deployments/api/pause",
        "headersFrom": [
            {
                "name": "Authorization",
                "prefix": "Bearer ",
                "secretKeyRef": {"name": "hooks", "key": "token"},
            }
        ],
        "body": {"reason": "api is being repaired"},
        "expectStatus": [200, 202],
        "extract": {"ticket": "ticket.id"},
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "status": "Status of the answer.",
        "values": "What `extract` names, by name; null where the answer has no such field.",
    }

    def rights(self, target: ObjectRef | None, parameters: HttpRequestParameters) -> tuple[Right, ...]:
        """Return get on the Secrets that are named, and on the run's target where that has to be there."""
        keys = [header.secret_key_ref for header in parameters.headers_from]
        keys += [field.secret_key_ref for field in parameters.body_from]
        own = requests.secret_rights((*keys, parameters.url_from) if parameters.url_from else keys)
        return (*own, *target_rights(target, parameters.when_target_gone))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: HttpRequestParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return the request's key; that it is stored says that the request may have been sent.

        Raises:
            StepError: TargetNotFound, TargetReplaced.
            ClusterError: as the API server answers.
        """
        # Not asked again in perform: where the outcome is not known, a target that is gone tells nothing of it.
        await demand_target(cluster, context, parameters.when_target_gone, "nothing was sent")
        return {"key": requests.step_key(context), "repeatable": parameters.method.reads}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: HttpRequestParameters
    ) -> Done:
        """Send it.

        Raises:
            EffectFailed: UnexpectedAnswer.
            UnknownOutcome: it may have been sent, and there was no whole answer.
            StepError: AddressRefused; PreconditionFailed, where a secret can't be had.
            ClusterError: no connection could be had; as the API server answers about a Secret.
        """
        url = await self._url(cluster, context, parameters)
        headers = {"Idempotency-Key": str((context.intent or {}).get("key") or requests.step_key(context))}
        body = await _body(cluster, context, parameters)
        if body is not None and not isinstance(body, str):
            headers["Content-Type"] = "application/json"
        given = {name.lower() for name in parameters.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in given}
        headers |= parameters.headers
        headers |= await requests.secret_headers(cluster, context, parameters.headers_from)
        method = parameters.method
        answer = await context.web.send(
            HttpRequest(
                method.value,
                url,
                headers,
                _written(body),
                parameters.request_timeout.total_seconds(),
                _MOST,
                method.reads,
            )
        )
        what = f"{method} to {_where(url)}"
        if answer.status == 0:
            return Done(True, f"{what} would be sent", changed=(f"{what}: would be sent",))
        outputs: dict[str, JsonValue] = {"status": answer.status, "values": {}}
        if not _expected(parameters, answer.status):
            raise EffectFailed(
                f"{what} was answered with status {answer.status}",
                reason=Reason.UNEXPECTED_ANSWER,
                outputs=outputs,
            )
        outputs["values"] = _extracted(parameters, answer, _sent_secrets(parameters, url, headers, body))
        told = f"{what}: answered with status {answer.status}"
        return Done(not method.reads, told, outputs, () if method.reads else (told,))

    def probe(self, sight: Sight, context: StepContext, parameters: HttpRequestParameters) -> Probed:
        """What a request did, nothing on the cluster tells: both are Unknown. That it was answered, and how, stands
        in the step's record.
        """
        return unknown("nothing on the cluster tells what an HTTP request did")

    async def undo(self, cluster: Cluster, context: StepContext, parameters: HttpRequestParameters) -> Done:
        """What a request did can't be taken back; a Workflow that has to sends another one."""
        return Done(False, "what an HTTP request did can't be taken back")

    @staticmethod
    async def _url(cluster: Cluster, context: StepContext, parameters: HttpRequestParameters) -> str:
        if parameters.url_from is None:
            return parameters.url or ""
        text = await requests.secret_value(cluster, context, parameters.url_from)
        try:
            return requests.checked_url(text)
        except ValueError as error:
            where = f"Secret {parameters.url_from.name}, key {parameters.url_from.key}"
            raise StepError(f"{where}: {error}", reason=Reason.PRECONDITION_FAILED) from None


async def _body(cluster: Cluster, context: StepContext, parameters: HttpRequestParameters) -> JsonValue:
    """Return the body with the values of Secrets in it.

    Raises:
        StepError: PreconditionFailed, where one can't be had; InvalidParameters, where it has no place.
        ClusterError: as the API server answers.
    """
    body = parameters.body
    for one in parameters.body_from:
        value = await requests.secret_value(cluster, context, one.secret_key_ref)
        try:
            body = fields.put(body, fields.parse(one.path), value)
        except fields.FieldError:
            raise StepError(
                f"bodyFrom: {one.path} goes through a field of the body that is no map",
                reason=Reason.INVALID_PARAMETERS,
            ) from None
    return body


def _written(body: JsonValue) -> bytes:
    if body is None:
        return b""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _where(url: str) -> str:
    """Return what may be told of a URL: paths and queries of webhooks are often secrets."""
    return urlsplit(url).hostname or ""


def _expected(parameters: HttpRequestParameters, status: int) -> bool:
    return status in parameters.expect_status if parameters.expect_status else 200 <= status < 300


def _sent_secrets(
    parameters: HttpRequestParameters, url: str, headers: Mapping[str, str], body: JsonValue
) -> tuple[str, ...]:
    """Return the values of Secrets that were sent: many a server repeats in its answer what it was asked."""
    found = [headers[one.name].removeprefix(one.prefix) for one in parameters.headers_from]
    found += [str(fields.get(body, fields.parse(one.path)) or "") for one in parameters.body_from]
    found += [url] if parameters.url_from is not None else []
    return tuple(filter(None, found))


def _extracted(
    parameters: HttpRequestParameters, answer: HttpAnswer, secrets: Sequence[str]
) -> dict[str, JsonValue]:
    """Return what becomes an output; what can't be had is null, for the request has had its effect."""
    if not parameters.extract:
        return {}
    try:
        document = json.loads(answer.body) if answer.whole else None
    except (ValueError, RecursionError):
        document = None
    found: dict[str, JsonValue] = {}
    for name, text in parameters.extract.items():
        value: JsonValue = fields.get(document, fields.parse(text))
        if limits.too_deep(value):
            found[name] = None
            continue
        told = [text for text in _texts(value) if any(secret in text for secret in secrets)]
        fits = len(json.dumps(value).encode()) <= MAX_VALUE and _tellable(value) and not told
        found[name] = value if fits else None
    return found


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys too; of a number how it is written."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from (str(key), *_texts(one))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)


def _tellable(value: Any) -> bool:
    """Whether nothing in a value is named as a secret."""
    if isinstance(value, Mapping):
        return not any(secretive_path((str(key),)) for key in value) and all(map(_tellable, value.values()))
    return not isinstance(value, list) or all(map(_tellable, value))
