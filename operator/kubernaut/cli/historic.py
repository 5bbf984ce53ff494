"""What every command says of a history that can't be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kubernaut.cli.errors import CliError, Exit
from kubernaut.history.errors import HistoryError, InvalidDsn


def demand_dsn(dsn: str) -> None:
    """Raise CliError where nobody said where the history is."""
    if not dsn:
        raise CliError("which history is not said", "Give its address with --dsn or KUBERNAUT_DSN.")


@contextmanager
def reading_history() -> Iterator[None]:
    """Have what goes wrong with the history told with what to do about it.

    Raises:
        CliError: the address is none, or the history can't be read.
    """
    try:
        yield
    except InvalidDsn as error:
        raise CliError(str(error), "Correct --dsn or KUBERNAUT_DSN.") from None
    except HistoryError as error:
        fix = "Check --dsn or KUBERNAUT_DSN, and that the operator has once reached this database."
        raise CliError(f"the history can't be read: {error}", fix, Exit.UNREACHABLE) from None
