"""Which namespaces the operator is told to work in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kubernaut.config import Settings


def test_unset_means_all_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNAUT_WATCH_NAMESPACES", raising=False)
    assert Settings().watched == ()


def test_each_namespace_is_watched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNAUT_WATCH_NAMESPACES", "shop,payments,shop")
    assert Settings().watched == ("shop", "payments")


@pytest.mark.parametrize("text", ["shop, payments", "Shop", "shop,", "*"])
def test_what_is_no_name_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KUBERNAUT_WATCH_NAMESPACES", text)
    with pytest.raises(ValidationError, match="not the name of a namespace"):
        Settings()
