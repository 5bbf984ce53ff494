"""What a Workflow's content is, and the small types that everything shares."""

from __future__ import annotations

import pytest

from builders import a_story, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.core.content import canonical, content_hash, snapshot_name
from kubernaut.core.errors import Conflict, Forbidden, StepError, TooManyRequests, UnknownOutcome
from kubernaut.core.ports import ObjectRef, Right


def test_equal_content_has_an_equal_hash_however_it_was_written() -> None:
    one = a_workflow().step("a").set(description="ü").spec()
    other = a_workflow().set(description="ü").step("a", timeout="300s").spec()
    assert canonical(one) == canonical(other)
    assert content_hash(one) == content_hash(other)
    assert len(content_hash(one)) == 64
    assert "ü" in canonical(one)


def test_other_content_has_another_hash() -> None:
    assert content_hash(a_workflow().step("a").spec()) != content_hash(a_workflow().step("b").spec())


def test_a_workflow_without_metrics_keeps_the_hash_that_it_had_before_there_were_any() -> None:
    content = canonical(a_workflow().step("a").verify("true").spec())
    assert '"verify":{"expect":["true"],"stabilization":"0s","timeout":"5m"}' in content
    metric = {"name": "up", "query": "up", "expect": "value > 0.0"}
    assert '"metrics"' in canonical(a_workflow().step("a").verify("true", metrics=[metric]).spec())


def test_the_name_of_a_snapshot_holds_workflow_and_hash_and_fits() -> None:
    assert snapshot_name("crash-loop", "0123456789abcdef") == "crash-loop-0123456789"
    assert len(snapshot_name("x" * 253, "0123456789abcdef")) <= 253


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (StepError("x"), Reason.INTERNAL, False),
        (StepError("x", reason=Reason.CONFLICT), Reason.CONFLICT, True),
        (StepError("x", reason=Reason.RUNNING), Reason.RUNNING, False),
        (Forbidden("x", status=403), Reason.MISSING_RIGHT, False),
        (Conflict("x", status=409), Reason.CONFLICT, True),
        (TooManyRequests("x", status=429, retry_after=2.5), Reason.UNAVAILABLE, True),
        (UnknownOutcome("x"), Reason.UNKNOWN_OUTCOME, False),
    ],
)
def test_an_error_says_its_reason_and_whether_trying_again_may_help(
    error: StepError, reason: Reason, transient: bool
) -> None:
    assert (error.reason, error.transient) == (reason, transient)


def test_an_answer_of_the_api_server_keeps_its_status_and_how_long_to_wait() -> None:
    error = TooManyRequests("x", status=429, retry_after=2.5)
    assert (error.status, error.retry_after) == (429, 2.5)


def test_objects_and_rights_are_named_as_people_name_them() -> None:
    meta = {"name": "web", "namespace": "shop", "uid": "u"}
    ref = ObjectRef.of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta})
    assert (str(ref), ref.uid) == ("Deployment shop/web", "u")
    assert str(ObjectRef("v1", "Node", "", "n1")) == "Node n1"
    assert str(Right("patch", "apps", "deployments")) == "patch deployments.apps"
    assert str(Right("get", "", "pods")) == "get pods"


def test_a_step_that_never_began_has_an_empty_record_stored() -> None:
    story = a_story(a_workflow().step("a"))
    assert story.run.stored_step("a") == story.run.step("a")
    assert story.run.step("a").attempt == 0
