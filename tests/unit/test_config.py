"""What the operator can be told: the namespaces it works in, and settings that need each other."""

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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TOKEN", "/token", "KUBERNAUT_PROMETHEUS_TOKEN needs KUBERNAUT_PROMETHEUS_URL"),
        ("NAMESPACE_PARAMETER", "namespace", "KUBERNAUT_PROMETHEUS_NAMESPACE_PARAMETER needs"),
        ("NAMESPACE_PARAMETER", "query", "a parameter of Prometheus' own"),
    ],
)
def test_what_prometheus_is_asked_with_needs_a_prometheus(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"KUBERNAUT_PROMETHEUS_{name}", value)
    with pytest.raises(ValidationError, match=says):
        Settings()
