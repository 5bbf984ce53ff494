"""What HTTP requests of steps have in common: URLs, headers, secrets by reference, keys that follow from the step."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from kubernaut.actions.guards import secretive_path
from kubernaut.actions.jobs.job_spec import SecretKey
from kubernaut.actions.objects import rights
from kubernaut.api.duration import Duration
from kubernaut.api.reasons import Reason
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, ObjectRef, Right

SECRET: Final = ("v1", "Secret")
LONGEST: Final = timedelta(seconds=60)
_HEADER: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
# They say how the message is sent, or what it is for; or are the step's own.
_OURS: Final = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("accept-encoding", "idempotency-key", "proxy-authorization", "proxy-connection", "keep-alive"),
    }
)
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "x-auth"})


def checked_url(text: str) -> str:
    """Return a URL to which a request can be sent.

    Raises:
        ValueError: it is none, or holds what must not be told.
    """
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError(
            "the URL holds a space, a backslash or a control character; write it percent-encoded"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("the URL can't be read; write it as in https://example.com/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("the URL needs http or https and a host, as in https://example.com/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "the URL holds a user or a password; send them as the header Authorization, from a Secret"
        )
    return text


def _bounded(value: timedelta) -> timedelta:
    if not timedelta(milliseconds=100) <= value <= LONGEST:
        raise ValueError(f"a request may take from 100ms to {LONGEST.seconds}s")
    return value


def _checked_header(name: str) -> str:
    if name.lower() in _OURS:
        raise ValueError(f"header {name} is not a step's to set")
    return name


def _checked_value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("the value of a header is one line of ASCII")
    return value


Url = Annotated[str, StringConstraints(max_length=2048), AfterValidator(checked_url)]
RequestTimeout = Annotated[Duration, AfterValidator(_bounded)]
HeaderName = Annotated[
    str, StringConstraints(pattern=_HEADER, max_length=128), AfterValidator(_checked_header)
]
HeaderValue = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_checked_value)]


class SecretHeader(ActionParameters):
    """A header whose value is in a Secret of the run's namespace."""

    name: Annotated[HeaderName, Field(description="Name of the header, as in Authorization.")]
    secret_key_ref: Annotated[SecretKey, Field(description="The Secret's key that holds the value.")]
    prefix: Annotated[HeaderValue, Field(description="What stands before it, as in `Bearer `.")] = ""


SecretHeaders = Annotated[
    tuple[SecretHeader, ...],
    Field(
        max_length=4,
        description="Headers whose values are in Secrets: `name`, `secretKeyRef` (`name`, `key`), and `prefix`, as "
        "in `Bearer `. They are read as the Workflow's account, and told nowhere.",
    ),
]


def demand_no_secret(name: str) -> None:
    """Refuse a header whose value may be a secret, for the Workflow would tell it.

    Raises:
        ValueError: it may.
    """
    if name.lower() in _SECRET_HEADERS or secretive_path((name,)):
        raise ValueError(
            f"headers.{name}: its value may be a secret, and the Workflow would tell it; put it into a Secret and "
            "name that under headersFrom"
        )


def secret_rights(keys: Iterable[SecretKey]) -> tuple[Right, ...]:
    """Return get on the Secrets that are named."""
    names = dict.fromkeys(key.name for key in keys)
    return rights(("get",), *SECRET, tuple(names)) if names else ()


async def secret_value(cluster: Cluster, context: StepContext, key: SecretKey) -> str:
    """Read a value from a Secret, as the Workflow's account.

    Raises:
        StepError: PreconditionFailed, where there is no such key, or its value is no text.
        ClusterError: as the API server answers.
    """
    ref = ObjectRef(*SECRET, context.namespace, key.name)
    data = (await cluster.get(ref)).get("data") or {}
    try:
        return base64.b64decode(data[key.key], validate=True).decode().rstrip("\r\n")
    except KeyError:
        told = f"has no key {key.key}; it has: {', '.join(sorted(data)) or 'none'}"
    except ValueError:
        told = f"holds no text under {key.key}"
    raise StepError(f"{ref} {told}", reason=Reason.PRECONDITION_FAILED)


async def secret_headers(
    cluster: Cluster, context: StepContext, headers: Iterable[SecretHeader]
) -> dict[str, str]:
    """Return the headers whose values are in Secrets.

    Raises:
        StepError: PreconditionFailed, where a value can't be had, or can't be a header's.
        ClusterError: as the API server answers.
    """
    found: dict[str, str] = {}
    for header in headers:
        value = header.prefix + await secret_value(cluster, context, header.secret_key_ref)
        if not _VALUE.fullmatch(value):
            raise StepError(
                f"the value for header {header.name} in Secret {header.secret_key_ref.name} is not one line of ASCII",
                reason=Reason.PRECONDITION_FAILED,
            )
        found[header.name] = value
    return found


def step_key(context: StepContext) -> str:
    """Return what tells this attempt of this step from every other, and is the same whenever it is asked for."""
    return context.signer.sign(f"request\n{context.run_uid}\n{context.step}\n{context.attempt}")[:32]
