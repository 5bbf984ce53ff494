"""Addresses of Postgres: checked before use, and shown without their password."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from kubernaut.history.errors import InvalidDsn

_EXAMPLE = "postgresql://user:password@host:5432/database"
_SCHEMES = ("postgresql", "postgres")


def check(dsn: str) -> str:
    """Return an address that can be used.

    Raises:
        InvalidDsn: it can't be read; the message holds nothing of it but the scheme, since any part may be secret.
    """
    text = dsn.strip()
    try:
        parts = urlsplit(text)
        for host in parts.netloc.rpartition("@")[2].split(","):  # each may have a port
            _ = urlsplit(f"//{host}").port
    except ValueError:
        raise _invalid("its host or port can't be read") from None
    if parts.scheme not in _SCHEMES:
        known = (
            f"begins with {parts.scheme!r}" if re.fullmatch("[a-z+]{1,20}", parts.scheme) else "has no scheme"
        )
        raise _invalid(f"it {known}")
    if "://" not in text:
        raise _invalid("it lacks // after the scheme")
    if not unquote(parts.path).strip("/"):
        raise _invalid("it names no database")
    return text


def _invalid(what: str) -> InvalidDsn:
    return InvalidDsn(f"the Postgres address (KUBERNAUT_DSN) is not usable: {what}; write it as {_EXAMPLE}")


def describe(dsn: str) -> str:
    """Return user, host and database of an address, without its password."""
    try:
        parts = urlsplit(dsn.strip())
        query = parse_qs(parts.query)
        user = unquote(parts.username or query.get("user", [""])[0]) or "(default user)"
        return f"{user}@{_hosts(parts, query)}/{unquote(parts.path).lstrip('/')}"
    except ValueError:
        return "(unreadable address)"


def _hosts(parts: SplitResult, query: dict[str, list[str]]) -> str:
    return parts.netloc.rpartition("@")[2] or query.get("host", ["localhost"])[0]
