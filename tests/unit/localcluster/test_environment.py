"""What environment a component is started with, whatever the caller's is."""

from __future__ import annotations

import pytest

from localcluster.local import GARBAGE_PERCENT, environment


def test_what_the_caller_set_does_not_change_how_a_component_behaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOGC", "GODEBUG", "KUBECONFIG", "ETCD_NAME", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "of the caller")
    monkeypatch.setenv("KEPT", "yes")
    found = environment()
    assert "of the caller" not in found.values()
    assert (found["KEPT"], found["GOGC"]) == ("yes", GARBAGE_PERCENT)
