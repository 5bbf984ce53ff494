"""``silence_alert``: a silence in Alertmanager, for a while."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import quote, urlencode, urlsplit

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions.outside import requests
from kubernaut.actions.outside.requests import RequestTimeout, SecretHeaders, Url
from kubernaut.actions.probing import NothingToSee
from kubernaut.api.base import Flag
from kubernaut.api.duration import Duration
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError, Unavailable
from kubernaut.core.ports import Cluster, HttpAnswer, HttpRequest, ObjectRef, Right
from kubernaut.core.probing import Probed, Sight, unknown

CREATOR: Final = "kubernaut"
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(hours=24)
_SILENCES: Final = "/api/v2/silences"
_EXPIRED: Final = "expired"
# Alertmanager's answer lists all silences that match a filter; ours are few.
_MOST: Final = 1024 * 1024


def _bounded(value: timedelta) -> timedelta:
    if not _SHORTEST <= value <= _LONGEST:
        raise ValueError("a silence lasts from 1m to 24h")
    return value


class Matcher(ActionParameters):
    """One condition on a label of an alert."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=128),
        Field(description="Name of the label, as in alertname."),
    ]
    value: Annotated[
        str,
        StringConstraints(min_length=1, max_length=512),
        Field(description="Its value, or a regular expression."),
    ]
    is_regex: Annotated[Flag, Field(description="Whether value is a regular expression.")] = False
    is_equal: Annotated[Flag, Field(description="Whether it has to match; false: has not to.")] = True

    @property
    def plain(self) -> dict[str, JsonValue]:
        """It as Alertmanager takes it."""
        return {"name": self.name, "value": self.value, "isRegex": self.is_regex, "isEqual": self.is_equal}


class SilenceAlertParameters(ActionParameters):
    """Parameters of ``silence_alert``."""

    matchers: Annotated[
        tuple[Matcher, ...],
        Field(
            min_length=1,
            max_length=16,
            description="Which alerts: `name` and `value` of a label, and `isRegex` and `isEqual` where it is no "
            "plain equality. At least one has to be a plain equality.",
        ),
    ]
    duration: Annotated[
        Duration, AfterValidator(_bounded), Field(description="How long, from 1m to 24h.")
    ] = timedelta(hours=1)
    comment: Annotated[
        str, StringConstraints(max_length=512), Field(description="Why, for those who look at the silence.")
    ] = ""
    every_namespace: Annotated[
        Flag,
        Field(
            description="Whether alerts of all namespaces are meant. Only a namespace whose Workflows may act beyond "
            "it may say so; else the silence holds for alerts whose label `namespace` is the run's."
        ),
    ] = False
    url: Annotated[
        Url | None,
        Field(
            description="Alertmanager's URL, with the prefix of its path, if any; by default what the operator's "
            "settings name."
        ),
    ] = None
    headers_from: SecretHeaders = ()
    request_timeout: Annotated[
        RequestTimeout, Field(description="How long one request may take, from 100ms to 60s.")
    ] = timedelta(seconds=10)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not any(one.is_equal and not one.is_regex for one in self.matchers):
            raise ValueError(
                "matchers: at least one has to name the value of a label (isRegex: false, isEqual: true)"
            )
        if not self.every_namespace and any(one.name == "namespace" for one in self.matchers):
            raise ValueError(
                "matchers: namespace is the run's own; leave it out, or set everyNamespace: true where that may be"
            )
        return self


class SilenceAlert(NothingToSee):
    """Creates a silence in Alertmanager (API v2) that ends by itself.

    It holds for alerts of the run's own namespace: a matcher on their label `namespace` is added, for one team must
    not silence another's. With `everyNamespace: true` none is added; that is allowed where the namespace has the
    label `kubernaut.io/cluster-scoped`.

    An Alertmanager gives a silence its ID itself, so a create can't be fenced. When the silence ends is stored in the
    run first, and its comment holds a key that follows from run, step and attempt: who comes back after a crash or a
    lost answer looks for a silence with that key by this creator, and makes one only where there is none. Should a
    request be held up so long that two are made, both say the same and end at the same time, and undo ends both.

    Which Alertmanager: `url`, else `KUBERNAUT_ALERTMANAGER_URL` of the operator; it must be where
    [http_request](http_request.md) may go. Of a cluster of Alertmanagers one is enough: they tell each other.
    """

    name: ClassVar = "silence_alert"
    summary: ClassVar = "Silence alerts in Alertmanager for a while"
    risk: ClassVar = Risk.LOW
    idempotency: ClassVar = Idempotency.INTENT
    parameters = SilenceAlertParameters
    example: ClassVar = {
        "matchers": [{"name": "alertname", "value": "KubePodCrashLooping"}],
        "duration": "30m",
        "comment": "api is being rolled back",
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "silence": "ID of the silence.",
        "endsAt": "When it ends, in UTC.",
    }

    def rights(self, target: ObjectRef | None, parameters: SilenceAlertParameters) -> tuple[Right, ...]:
        """Return get on the Secrets that are named."""
        return requests.secret_rights(header.secret_key_ref for header in parameters.headers_from)

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: SilenceAlertParameters
    ) -> Mapping[str, JsonValue] | None:
        """Return the silence's key and times, so that it is the same whenever it is asked for."""
        began = context.now.astimezone(UTC).replace(microsecond=0)
        return {
            "key": requests.step_key(context),
            "startsAt": _written(began),
            "endsAt": _written(began + parameters.duration),
            "repeatable": True,
        }

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: SilenceAlertParameters
    ) -> Done:
        """Look for the silence, and make it where there is none.

        Raises:
            StepError: AddressRefused; UnexpectedAnswer; BeyondNamespace; InvalidParameters, where no Alertmanager is
                named; PreconditionFailed, where a secret can't be had.
            ClusterError: no answer could be had.
        """
        intent = context.intent or {}
        alertmanager = await _Alertmanager.of(cluster, context, parameters)
        found = await alertmanager.silences(str(intent["key"]))
        if found:
            return _told(str(found[0]["id"]), str(intent["endsAt"]))
        answer = await alertmanager.send("POST", _SILENCES, _silence(context, parameters))
        if answer.status == 0:
            return Done(True, "a silence would be made", changed=("a silence would be made",))
        return _told(str(_parsed(answer).get("silenceID", "")), str(intent["endsAt"]))

    def probe(self, sight: Sight, context: StepContext, parameters: SilenceAlertParameters) -> Probed:
        """Whether the silence is there, Alertmanager alone can tell, and no object of the cluster: both are
        Unknown. The step's outputs name the silence.
        """
        return unknown("only Alertmanager can tell; look for the silence of the step's outputs there")

    async def undo(self, cluster: Cluster, context: StepContext, parameters: SilenceAlertParameters) -> Done:
        """The silence is ended at once, if it has not ended yet; one that somebody else made of it is left alone."""
        key = str((context.intent or {}).get("key", ""))
        if not key:
            return Done(False, "the step made no silence")
        alertmanager = await _Alertmanager.of(cluster, context, parameters)
        found = await alertmanager.silences(key)
        for silence in found:
            if (silence.get("status") or {}).get("state") != _EXPIRED:
                path = f"/api/v2/silence/{quote(str(silence['id']), safe='')}"
                # Expired since: an Alertmanager says so by 404, or by 500 as it once did.
                await alertmanager.send("DELETE", path, allowed=(404,))
        told = tuple(f"silence {one['id']}: ended" for one in found)
        return Done(bool(found), "; ".join(told) or "there is no silence of the step", changed=told)


class _Alertmanager:
    """The part of Alertmanager's API v2 that is needed."""

    def __init__(
        self, context: StepContext, url: str, headers: Mapping[str, str], parameters: SilenceAlertParameters
    ) -> None:
        self._context = context
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._timeout = parameters.request_timeout.total_seconds()
        self._beyond = parameters.every_namespace
        equal = [one for one in parameters.matchers if one.is_equal and not one.is_regex]
        texts = [f"{one.name}={json.dumps(one.value, ensure_ascii=False)}" for one in equal]
        self._filter = urlencode({"filter": texts}, doseq=True)

    @classmethod
    async def of(
        cls, cluster: Cluster, context: StepContext, parameters: SilenceAlertParameters
    ) -> _Alertmanager:
        url = parameters.url or context.web.alertmanager
        if not url:
            raise StepError(
                "no Alertmanager is named: give its address under with.url, or have the operator's settings name it "
                "(KUBERNAUT_ALERTMANAGER_URL)",
                reason=Reason.INVALID_PARAMETERS,
            )
        headers = await requests.secret_headers(cluster, context, parameters.headers_from)
        return cls(context, url, headers, parameters)

    async def silences(self, key: str) -> list[dict[str, Any]]:
        """Return the silences of a step, expired ones too."""
        answer = await self.send("GET", f"{_SILENCES}?{self._filter}")
        found = _parsed(answer)
        items = found if isinstance(found, list) else []
        return [
            one
            for one in items
            if one.get("createdBy") == CREATOR and f"({key})" in str(one.get("comment", ""))
        ]

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, allowed: tuple[int, ...] = ()
    ) -> HttpAnswer:
        """Send a request, and demand a good answer.

        Raises:
            StepError: UnexpectedAnswer, and what ``Web.send`` raises.
            Unavailable: Alertmanager is not well.
        """
        headers = dict(self._headers)
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        reads = method == "GET"
        answer = await self._context.web.send(
            HttpRequest(method, self._url + path, headers, content, self._timeout, _MOST, reads, self._beyond)
        )
        good = answer.status == 0 or 200 <= answer.status < 300 or answer.status in allowed
        if good and answer.whole:
            return answer
        what = f"{method} {path.partition('?')[0]} of Alertmanager at {urlsplit(self._url).hostname}"
        if answer.status >= 500 or answer.status == 429:
            # Whether a silence was made all the same is seen when it is looked for again.
            raise Unavailable(f"{what} was answered with status {answer.status}", status=answer.status)
        told = f"status {answer.status}" if answer.whole else f"more than {_MOST} bytes"
        raise StepError(f"{what} was answered with {told}", reason=Reason.UNEXPECTED_ANSWER)


def _silence(context: StepContext, parameters: SilenceAlertParameters) -> dict[str, Any]:
    intent = context.intent or {}
    matchers = [one.plain for one in parameters.matchers]
    if not parameters.every_namespace:
        matchers.append({"name": "namespace", "value": context.namespace, "isRegex": False, "isEqual": True})
    why = f"{parameters.comment} " if parameters.comment else ""
    by = f"step {context.step} of run {context.namespace}/{context.run_name}"
    return {
        "matchers": matchers,
        "startsAt": intent["startsAt"],
        "endsAt": intent["endsAt"],
        "createdBy": CREATOR,
        "comment": f"{why}{by} ({intent['key']})",
    }


def _told(silence: str, ends_at: str) -> Done:
    told = f"silence {silence}: until {ends_at}"
    return Done(True, told, {"silence": silence, "endsAt": ends_at}, (told,))


def _parsed(answer: HttpAnswer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        raise StepError(
            "what answers at Alertmanager's address does not speak its API v2; look at the URL",
            reason=Reason.UNEXPECTED_ANSWER,
        ) from None


def _written(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
