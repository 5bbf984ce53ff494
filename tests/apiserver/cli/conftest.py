"""The command against a real API server, with the shipped resources and admission policies; no operator runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.cli.space import OPERATOR, SNAPSHOT, WORKFLOW, Space
from localcluster import Cluster


@pytest.fixture
def space(
    cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Space]:
    for name, value in cluster.client_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)
    made = Space(cluster, namespace, capsys)
    made.apply(WORKFLOW, SNAPSHOT)
    yield made
    made.kubectl("delete", "kwfe", "--all", "--wait=false")
    for name in made.kubectl("get", "kwfe", "-o", "name").split():
        made.kubectl(*OPERATOR, "patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
