"""What asyncpg raises is told apart: a server to be asked again, from data that it will never take."""

from __future__ import annotations

import asyncpg
import pytest

from kubernaut.history.errors import HistoryUnavailable, Rejected
from kubernaut.history.failures import translate


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.IdleInTransactionSessionTimeoutError,
        asyncpg.TransactionTimeoutError,
        asyncpg.InFailedSQLTransactionError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InvalidSQLStatementNameError,
        asyncpg.DuplicatePreparedStatementError,
        asyncpg.InvalidCachedStatementError,
    ],
)
def test_trouble_of_the_connection_is_not_blamed_on_the_data(error: type[asyncpg.PostgresError]) -> None:
    assert isinstance(translate(error("so it is"), "here"), HistoryUnavailable)


@pytest.mark.parametrize(
    "error",
    [asyncpg.CharacterNotInRepertoireError, asyncpg.CheckViolationError, asyncpg.StatementTooComplexError],
)
def test_data_that_postgres_can_not_hold_is_refused_for_good(error: type[asyncpg.PostgresError]) -> None:
    assert isinstance(translate(error("so it is"), "here"), Rejected)
