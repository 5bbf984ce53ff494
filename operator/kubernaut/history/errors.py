"""The errors that the history ends in; asyncpg's own never leave this package."""

from __future__ import annotations

from kubernaut.core.errors import KubernautError


class HistoryError(KubernautError):
    """The root of all errors of the history."""


class HistoryUnavailable(HistoryError):
    """Postgres does not answer now; the same may succeed later."""


class BreakerOpen(HistoryUnavailable):
    """Postgres was not asked: its breaker is open, or somebody else's probe is under way."""


class BadDsn(HistoryError):
    """The address of Postgres is wrong; waiting does not help. The message never holds the password."""


class InvalidDsn(BadDsn):
    """The address can't be read at all."""


class AuthenticationFailed(BadDsn):
    """Postgres does not accept user or password."""


class UnknownDatabase(BadDsn):
    """The server has no database of this name."""


class ConnectionRefused(BadDsn, HistoryUnavailable):
    """Nothing listens there, or the host's name is not known: a wrong address, or a server that is down."""


class SchemaMismatch(HistoryError):
    """The database's schema is not the one this version works with; says which, and what to do."""


class MissingPrivilege(HistoryError):
    """The database's user may not do what was asked; names the right."""


class Rejected(HistoryError):
    """Postgres refused the data itself; the same data will be refused again."""


class Superseded(HistoryError):
    """Somebody else wrote what analysis keeps since it was read here; it has to be read again."""


class ExtensionMissing(HistoryError):
    """The server has no pgvector; it has to be installed there."""


class KeysUnusable(HistoryError):
    """There are no keys to encrypt with; says what is wrong with their file, and never what is in it."""


class KeyUnknown(HistoryError):
    """What is stored was encrypted with a key that is not at hand."""


class Tampered(HistoryError):
    """What is stored is not what was encrypted."""
