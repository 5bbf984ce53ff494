"""One trace tells of a run from the alert to the verdict, over a killed operator; lines of the log join with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from collector import Collector, Taken
from e2e.alerting import alert, taking_alerts
from e2e.websteps import gate, note
from e2e.world import Place, until
from kubernaut.core.tracing import intake_span, span_id, step_span, trace_id


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector().start()
    yield made
    made.stop()


def test_a_run_that_an_alert_started_is_one_trace_though_the_operator_is_killed(
    place: Place, collector: Collector
) -> None:
    world = place.world
    env = {
        "KUBERNAUT_TRACES": "true",
        "KUBERNAUT_LOG_LEVEL": "DEBUG",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with taking_alerts(world, **env) as (teller, operator):
        trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}}
        place.workflow(
            note("first"), gate("gate", "first"), note("second", "gate"), triggers=[trigger],
            verify={"expect": ["true"], "stabilization": "0s"},
        )  # fmt: skip
        fires = alert(namespace=place.namespace)
        teller.tell(fires)
        (run,) = until("it started a run", lambda: place.list("WorkflowExecution"))
        uid, name = run["metadata"]["uid"], run["metadata"]["name"]
        until("the first step is told", lambda: collector.named(uid, "step first"))
        operator.kill()
        world.restart_operator()
        # Only once it does not fire any more the run has helped.
        teller.insist({**fires, "status": "resolved", "endsAt": datetime.now(UTC).isoformat()})
        place.label(go="yes")
        (root,) = until(
            "the run is told", lambda: collector.named(uid, f"run {run['spec']['workflowRef']['name']}")
        )

        spans = {span.name: span for span in collector.trace(uid)}
        intake = spans["alert"]
        assert (intake.id, intake.parent, intake.kind) == (intake_span(uid), "", 2)
        assert intake.attributes["kubernaut.alert"] == "Broken"
        assert (root.id, root.parent) == (span_id(uid), intake.id)
        assert intake.began <= intake.ended
        assert root.attributes["kubernaut.run"] == name
        assert root.attributes["kubernaut.verdict"] == _verdict(place, name)
        for step in ("first", "gate", "second"):
            (span,) = collector.named(uid, f"step {step}")
            assert (span.id, span.parent) == (step_span(uid, step), root.id)
            assert root.began <= span.began <= span.ended <= root.ended
        patches = [span for span in collector.trace(uid) if span.name == "patch deployments"]
        assert [one.parent for one in patches] == [step_span(uid, "first"), step_span(uid, "second")]
        assert all(one.attributes["kubernaut.account"] == place.account for one in patches)
        assert _of_run(collector.trace(uid), "patch workflowexecutions/status", root.id)
        assert operator.metric("kubernaut_trace_spans_total", outcome="exported")
        assert operator.metric("kubernaut_trace_spans_total", outcome="dropped") == 0

        # What machines read of the log leads to the trace, and to the step.
        lines = [line for line in operator.records() if line.get("uid") == uid]
        assert {line["message"] for line in lines} >= {"step performed", "run finished"}
        for line in lines:
            assert (line["kind"], line["namespace"], line["name"]) == (
                "WorkflowExecution",
                place.namespace,
                name,
            )
            assert line["trace_id"] == trace_id(uid) == root.trace
        performed = [line["span_id"] for line in lines if line["message"] == "step performed"]
        assert performed == [step_span(uid, "first"), step_span(uid, "second")]
        about = [line for line in operator.records() if line.get("run") == f"{place.namespace}/{name}"]
        assert all(
            line.get("trace_id") for line in about if str(line["logger"]).startswith("kubernaut.engine")
        )


def _verdict(place: Place, name: str) -> str:
    found: str = place.get("WorkflowExecution", name)["status"]["verdict"]
    return found


def _of_run(spans: list[Taken], name: str, parent: str) -> list[Taken]:
    return [span for span in spans if (span.name, span.parent) == (name, parent)]
