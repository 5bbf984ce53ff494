"""From what asyncpg raises to the history's own errors: what happened, to which database, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from kubernaut.history.errors import (
    AuthenticationFailed,
    ConnectionRefused,
    ExtensionMissing,
    HistoryError,
    HistoryUnavailable,
    InvalidDsn,
    MissingPrivilege,
    Rejected,
    SchemaMismatch,
    UnknownDatabase,
)

_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.ObjectInUseError,
    # The transaction was ended from outside: it lasted, or lay idle, for too long.
    asyncpg.InvalidTransactionStateError,
    # A prepared statement is of another connection (a pooler's), or of the schema before a migration.
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidCachedStatementError,
)
_NO_SCHEMA = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)
_NO_EXTENSION = (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what asyncpg raises in the body into a HistoryError that names the database ``where``."""
    try:
        yield
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
        ValueError,
        OverflowError,
    ) as error:
        raise translate(error, where) from error


def translate(error: BaseException, where: str) -> HistoryError:
    """Return the history's error for one of asyncpg's."""
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, where)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return InvalidDsn(f"Postgres at {where}: the address (KUBERNAUT_DSN) is not usable: {error}")
    if isinstance(error, ValueError | OverflowError):  # a value that Postgres' type can't hold
        return Rejected(f"Postgres at {where} can't store the data: {error}")
    if isinstance(error, OSError) and not isinstance(
        error, TimeoutError | ConnectionResetError | BrokenPipeError
    ):
        return ConnectionRefused(
            f"nothing answers as Postgres at {where} ({_os_reason(error)}); "
            "start it, or correct host and port in KUBERNAUT_DSN"
        )
    reason = "it did not answer in time" if isinstance(error, TimeoutError) else f"{error}" or repr(error)
    return HistoryUnavailable(f"Postgres at {where} can't be used now: {reason}; it is tried again")


def _os_reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _from_server(error: asyncpg.PostgresError, where: str) -> HistoryError:
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():  # the wrong password too
            return AuthenticationFailed(
                f"Postgres at {where} refuses the user: {error}; correct user and password in KUBERNAUT_DSN"
            )
        case asyncpg.InvalidCatalogNameError():
            return UnknownDatabase(
                f"Postgres at {where}: {error}; create the database, or correct its name in KUBERNAUT_DSN"
            )
        case asyncpg.InsufficientPrivilegeError():
            return MissingPrivilege(f"Postgres at {where}: {error}; grant it to the user of KUBERNAUT_DSN")
        case _ if isinstance(error, _AWAY):
            return HistoryUnavailable(f"Postgres at {where} can't be used now: {error}; it is tried again")
        case _ if isinstance(error, _NO_EXTENSION) and "extension" in str(error):
            return ExtensionMissing(
                f"Postgres at {where}: {error}; install pgvector 0.8.4 or newer on the server (package "
                "postgresql-NN-pgvector, or an image that has it)"
            )
        case _ if isinstance(error, _NO_SCHEMA):
            return SchemaMismatch(
                f"Postgres at {where}: {error}; the schema is not migrated: start the operator, which does it"
            )
        case _:
            return Rejected(f"Postgres at {where} refused: {error}")
