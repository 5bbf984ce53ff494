"""The audit log as the benchmarks count in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.auditlog import AuditTail, Entry, in_namespace

OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut-operator"


def logged(verb: str, resource: str, code: int = 200, query: str = "", **ref: str) -> dict[str, Any]:
    return {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": OPERATOR},
        "impersonatedUser": {"username": "system:serviceaccount:bench:kubernaut-repair"},
        "objectRef": {"resource": resource, "namespace": "bench", "name": "web", **ref},
        "responseStatus": {"code": code},
        "requestURI": f"/apis{query}",
        "requestReceivedTimestamp": "2026-01-01T00:00:00.100000Z",
        "stageTimestamp": "2026-01-01T00:00:00.103500Z",
    }


def read(tmp_path: Path, *events: dict[str, Any]) -> list[Entry]:
    path = tmp_path / "audit.log"
    path.write_text("")
    tail = AuditTail(path)
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return tail.read()


def test_only_what_changed_an_object_is_persisted(tmp_path: Path) -> None:
    entries = read(
        tmp_path,
        logged("patch", "deployments"),
        logged("patch", "deployments", query="?dryRun=All"),
        logged("patch", "deployments", 409),
        logged("get", "deployments"),
        logged("create", "subjectaccessreviews", 201, apiGroup="authorization.k8s.io"),
    )
    assert [entry.persisted for entry in entries] == [True, False, False, False, False]
    assert [entry.kind for entry in entries] == [
        "patch deployments",
        "patch deployments (dry run)",
        "patch deployments (409)",
        "get deployments",
        "create subjectaccessreviews",
    ]


def test_a_request_tells_who_sent_it_as_whom_and_how_long_it_took(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, logged("patch", "workflowexecutions", subresource="status"))
    assert entry.by == OPERATOR
    assert entry.user.endswith("kubernaut-repair")
    assert entry.what == "workflowexecutions/status"
    assert entry.answered - entry.came == pytest.approx(0.0035, abs=1e-6)
    assert in_namespace(entry)


def test_a_line_that_is_still_being_written_is_read_next_time(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("")
    tail = AuditTail(path)
    line = json.dumps(logged("get", "deployments")) + "\n"
    path.write_text(line + line[:40])
    assert len(tail.read()) == 1
    path.write_text(line + line)
    assert len(tail.read()) == 1


def test_a_log_whose_last_line_is_half_written_is_read_from_that_line_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    line = json.dumps(logged("get", "deployments")) + "\n"
    path.write_text(line + line[:40])
    tail = AuditTail(path)
    path.write_text(line + line)
    assert len(tail.read()) == 1


def test_what_does_not_come_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("")
    with pytest.raises(TimeoutError, match="audit log"):
        AuditTail(path).read_until(lambda entry: True, seconds=0.0)
