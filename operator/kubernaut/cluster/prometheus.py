"""What a query gives now, asked of a Prometheus (or what speaks its API); what can't be known is told as such."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from kubernaut.api.reasons import Reason
from kubernaut.cluster.breaker import Breaker
from kubernaut.core.errors import Unavailable
from kubernaut.core.measuring import MOST_SAMPLES
from kubernaut.core.run import MetricSeen, Sample

#: seconds for an answer, and those after which Prometheus itself gives a query up
TIMEOUT: Final = 3.0
GIVES_UP: Final = "2s"
MOST_BYTES: Final = 2**20
#: a query may be so long, once its expressions are filled in
MOST_QUERY: Final = 4096
AT_ONCE: Final = 8
_PATH: Final = "api/v1/query"
_LABEL: Final = 64
# What is said of a query rather than of Prometheus: others can be answered meanwhile. Of the first two, 400 is said
# of its text and 422 of what it met; who guards tenants says either in words of its own.
_REFUSED: Final = (400, 422)
_OF_THE_QUERY: Final = frozenset({"timeout", "canceled"})


@dataclass(frozen=True, slots=True)
class Access:
    """Where a Prometheus is, and how it is asked.

    Attributes:
        namespace_parameter: the parameter that names the run's namespace, for what restricts queries to it.
        token: a file with a bearer token, read each time.
        ca: certificates (PEM) that have to have signed its own.
    """

    url: str
    namespace_parameter: str = ""
    token: Path | None = None
    ca: Path | None = None


class _Said(Exception):
    """An answer that says nothing of the metric."""

    def __init__(self, reason: Reason, told: str, *, again: bool = True, there: bool = True) -> None:
        super().__init__(told)
        self.reason, self.again, self.there = reason, again, there


class Prometheus:
    """Asks only when a verdict hangs on it, a few queries at a time, behind a breaker."""

    def __init__(self, access: Access, clock: Callable[[], datetime], breaker: Breaker) -> None:
        self._access = access
        self._url = URL(access.url.rstrip("/") + "/") / _PATH
        # A URL may hold a password.
        self._told = str(URL(access.url).with_user(None))
        self._clock = clock
        self.breaker = breaker
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(self, query: str, namespace: str) -> MetricSeen:
        """Return what a query gives now, or why that is not known. Never raises.

        Args:
            namespace: that of the run, to which the query is restricted where the settings say how.
        """
        async with self._turns:
            asked = self._clock()
            if len(query) > MOST_QUERY:
                told = f"its query has {len(query)} characters; at most {MOST_QUERY} are sent"
                return MetricSeen(asked, reason=Reason.METRIC_REFUSED, told=told, again=False)
            try:
                self.breaker.admit()
            except Unavailable as error:
                return MetricSeen(asked, reason=Reason.METRICS_UNAVAILABLE, told=str(error))
            try:
                samples = await self._ask(query, namespace)
            except _Said as said:
                if said.there:
                    self.breaker.succeeded()
                else:
                    self.breaker.failed()
                return MetricSeen(asked, reason=said.reason, told=str(said), again=said.again)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.breaker.failed()
                told = f"the Prometheus at {self._told} can't be asked: {(str(error) or type(error).__name__)[:200]}"
                return MetricSeen(asked, reason=Reason.METRICS_UNAVAILABLE, told=told)
            self.breaker.succeeded()
            return MetricSeen(asked, samples)

    async def _ask(self, query: str, namespace: str) -> tuple[Sample, ...]:
        access = self._access
        # By GET: what guards tenants reads the namespace from the URL.
        parameters = {"query": query, "timeout": GIVES_UP}
        if access.namespace_parameter:
            parameters[access.namespace_parameter] = namespace
        headers: dict[str, str] = {}
        if access.token is not None:
            headers["Authorization"] = f"Bearer {access.token.read_text().strip()}"
        context = ssl.create_default_context(cafile=str(access.ca)) if access.ca is not None else True
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(
                self._url, params=parameters, headers=headers, ssl=context, allow_redirects=False
            ) as answer,
        ):
            body = bytearray()
            async for piece in answer.content.iter_chunked(65536):
                body += piece
                if len(body) > MOST_BYTES:
                    told = f"its answer is larger than {MOST_BYTES} bytes"
                    raise _Said(Reason.METRIC_REFUSED, told, again=False)
        return read(answer.status, bytes(body))


def read(status: int, body: bytes) -> tuple[Sample, ...]:
    """Return the samples of an answer.

    Raises:
        ValueError: it is no answer of a Prometheus.
        _Said: it is one, and has none that count.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    whole = isinstance(found, dict) and found.get("status") in ("success", "error")
    if status in _REFUSED:
        told = found.get("error") if whole else body[:400].decode(errors="replace")
        raise _Said(
            Reason.METRIC_REFUSED, f"Prometheus refuses its query: {_text(told)}", again=status != 400
        )
    if not whole:
        raise ValueError(f"it answered {status}" if status != 200 else "its answer is none of Prometheus")
    if found["status"] == "error" or status != 200:
        kind = found.get("errorType")
        told = f"Prometheus answered {status}: {kind}: {_text(found.get('error'))}"
        raise _Said(Reason.METRICS_UNAVAILABLE, told, there=kind in _OF_THE_QUERY)
    if warnings := found.get("warnings"):
        told = f"Prometheus warns, so samples may be missing: {_text(warnings)}"
        raise _Said(Reason.METRICS_UNAVAILABLE, told)
    data = found.get("data")
    if not isinstance(data, dict):
        raise ValueError("its answer has no data")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return (Sample(_number(result)),)
    if kind != "vector":
        told = f"its query gives a {kind}, and not one value of each series"
        raise _Said(Reason.METRIC_REFUSED, told, again=False)
    if not isinstance(result, list):
        raise ValueError("its answer has no list of samples")
    if len(result) > MOST_SAMPLES:
        raise _Said(
            Reason.METRIC_REFUSED, f"its query gives {len(result)} samples; at most {MOST_SAMPLES} are judged"
        )
    return tuple(_sample(one) for one in result)


def _sample(one: Any) -> Sample:
    if not isinstance(one, dict) or not isinstance(one.get("metric"), dict):
        raise ValueError("a sample of its answer has no labels")
    if "value" not in one:
        told = "its query gives histograms, and not numbers; ask for histogram_quantile or the like"
        raise _Said(Reason.METRIC_REFUSED, told, again=False)
    labels = ", ".join(f'{name}="{str(value)[:_LABEL]}"' for name, value in sorted(one["metric"].items()))
    return Sample(_number(one["value"]), labels)


def _number(pair: Any) -> float:
    """Read the value of a pair of time and value, which Prometheus writes as a text: 0.5, NaN or +Inf."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
        raise ValueError("a sample of its answer has no value")
    return float(pair[1])


def _text(told: Any) -> str:
    text = "; ".join(map(str, told)) if isinstance(told, list) else str(told)
    return " ".join(text.split())[:200]
