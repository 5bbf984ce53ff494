"""Addresses: what is wrong with one is said without showing it."""

from __future__ import annotations

import pytest

from kubernaut.history.database import Database
from kubernaut.history.dsn import check, describe
from kubernaut.history.errors import BadDsn, InvalidDsn

SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    ("dsn", "what"),
    [
        ("", "has no scheme"),
        (f"kubernaut:{SECRET}@host/history", "it "),
        (f"mysql://kubernaut:{SECRET}@host/history", "begins with 'mysql'"),
        (f"{SECRET}://host/db", "has no scheme"),
        (f"postgresql:kubernaut:{SECRET}@host/history", "lacks //"),
        (f"postgresql://kubernaut:{SECRET}@host:port/history", "can't be read"),
        (f"postgresql://kubernaut:{SECRET}@host:99999/history", "can't be read"),
        (f"postgresql://kubernaut:{SECRET}@[::1/history", "can't be read"),
        (f"postgresql://kubernaut:{SECRET}@one:5432,two:port/history", "can't be read"),
        (f"postgresql://kubernaut:{SECRET}@host", "names no database"),
        (f"postgresql://kubernaut:{SECRET}@host/", "names no database"),
    ],
)
def test_an_address_that_can_not_be_read_is_refused_at_once(dsn: str, what: str) -> None:
    with pytest.raises(InvalidDsn) as caught:
        Database(dsn)
    assert isinstance(caught.value, BadDsn)
    assert what in str(caught.value)
    assert "postgresql://user:password@host:5432/database" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (
            f"postgresql://kubernaut:{SECRET}@db.example:5433/history?sslmode=require",
            "kubernaut@db.example:5433/history",
        ),
        (f"postgres://k:{SECRET}@[2001:db8::1]:5432/h", "k@[2001:db8::1]:5432/h"),
        ("postgresql://postgres@/kubernaut?host=/run/postgres", "postgres@/run/postgres/kubernaut"),
        ("postgresql:///kubernaut", "(default user)@localhost/kubernaut"),
        (f"postgresql://a%40b:{SECRET}@one,two/my%20db", "a@b@one,two/my db"),
        (
            f"postgresql://k:{SECRET}@one:5432,two:5433/h?target_session_attrs=read-write",
            "k@one:5432,two:5433/h",
        ),
    ],
)
def test_a_good_address_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert check(f"  {dsn}\n") == dsn
    assert describe(dsn) == shown
