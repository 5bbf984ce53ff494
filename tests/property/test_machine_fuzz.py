"""``advance`` takes any facts at any time: it never raises, and says the same of the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import NOW, a_run, a_workflow, steps
from kubernaut.api.base import ApiModel
from kubernaut.api.execution import Control, Intervention, Remedy, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.core.limits import MESSAGES, OUTPUTS, SENTENCES, size
from kubernaut.core.machine import advance
from kubernaut.core.naming import child_run
from kubernaut.core.plan import ANY
from kubernaut.core.run import Facts, Hold, Outcome, OutcomeKind, Run, Seen, Watched

PLAN = (
    a_workflow()
    .step("read", "fake_read")
    .step("a", needs="read", when="steps.read.outputs.x == target.status.x", retries=2, timeout="20s")
    .step("pin", "fake_pinned", retries=1)
    .step(
        "b", needs="a pin", with_={"replicas": "=target.spec.replicas", "labels": {"x": "=steps.a.outputs.n"}}
    )
    .wait("w", until="target.status.ready", needs="read", timeout="30s")
    .wait("d", "5s", needs="w")
    .approval("ask", "d", expires="30s")
    .verify("target.status.ready", stabilization="5s", timeout="20s")
    .set(timeout="2m", parallelism=2)
)
BODY = (
    steps()
    .step("x", when="item != 'skip'", retries=1, onFailure="Continue")
    .step("y", needs="x", onFailure="Alternate", alternate="other")
    .approval("ok", "y", onFailure="Manual")
)
KINDS = (
    a_workflow()
    .step("read", "fake_read")
    .subflow("sub", retries=1, timeout="30s")
    .switch("which", {"other": "target.status.x == 1"}, "read", default="other", onFailure="Manual")
    .each("each", "one", "read", items_from="steps.read.outputs.x", parallelism=2)
    .each("pods", "other", "which", select="app=web", resources=[{"name": "drain"}])
    .wait(
        "w",
        until="object.status.ready",
        object_={"apiVersion": "v1", "kind": "Pod", "name": "p"},
        timeout="30s",
    )
    .template("one", BODY)
    .template("other", steps().step("z", retries=1).subflow("s"))
    .last(steps().step("tidy", with_={"imageName": "=run.outcome"}, timeout="20s"))
    .set(
        timeout="2m",
        alternate="other",
        onFailure="Alternate",
        outputs=[{"name": "o", "value": "=steps.read.outputs.x"}],
    )
)
PLANS = [PLAN.plan(), PLAN.rolling_back().plan(), KINDS.plan()]
PATHS = [
    "each/0/x",
    "each/0/y",
    "each/1/x",
    "each/0/y/alternate/z",
    "which/other/z",
    "pods/0/z",
    "alternate/z",
]
STEPS = [*{step.name: None for plan in PLANS for step in plan.steps if ANY not in step.name}, *PATHS]
POD = Watched("v1", "Pod", "p")
CHILDREN = [
    Watched("kubernaut.io/v1alpha1", "WorkflowExecution", child_run("run-1", "uid-of-run", step, attempt))
    for step in ("sub", "which/other/s")
    for attempt in (1, 2)
]
ODD = [float("nan"), 2**70, "\ud800", "x" * 50_000, "\x00", -0.0, b"x", ("x",), True, None, 1]

odd = st.sampled_from(ODD) | st.text(max_size=5)
values = st.recursive(
    odd, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3)
)
keys = st.sampled_from(["x", "n", "ready", "Bad", ""])
texts = st.sampled_from(["", "no", "\ud800", "ü" * 3000, "a\nb"])
outcomes = st.builds(
    Outcome,
    st.sampled_from(OutcomeKind),
    texts,
    st.none() | st.sampled_from(Reason),
    st.booleans(),
    st.lists(texts, max_size=20).map(tuple),
    st.dictionaries(keys, values, max_size=3),
    st.none() | st.dictionaries(keys, odd, max_size=2),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
parts = st.fixed_dictionaries(
    {}, optional={"spec": values, "status": values, "metadata": st.none() | st.just({})}
)
ready = st.just(
    {"metadata": {"uid": "uid-of-target"}, "spec": {"replicas": 2}, "status": {"ready": True, "x": 1}}
)
seen = st.none() | st.builds(Seen, st.none() | parts | ready)
facts = st.builds(
    Facts,
    st.dictionaries(st.sampled_from([*STEPS, "nobody"]), outcomes, max_size=4),
    st.frozensets(st.sampled_from([*STEPS, "nobody"]), max_size=2),
    seen,
    st.none() | st.builds(Hold, st.sampled_from([Reason.STOPPED, Reason.POLICIES_MISSING]), texts),
    st.dictionaries(
        st.sampled_from([POD, *CHILDREN]), st.builds(Seen, st.none() | parts | ready), max_size=3
    ),
    st.frozensets(st.sampled_from([*STEPS, "nobody"]), max_size=3),
    st.frozensets(st.sampled_from(Feature), max_size=2),
    st.frozensets(st.sampled_from([*STEPS, "nobody"]), max_size=2),
)
said = st.builds(
    Intervention,
    step=st.sampled_from([*STEPS, "nobody"]),
    attempt=st.integers(0, 2),
    remedy=st.sampled_from(Remedy),
    by=st.just("ada"),
)
controls = st.builds(
    Control,
    cancel=st.sampled_from([False] * 5 + [True]),
    paused=st.booleans(),
    interventions=st.lists(said, max_size=3, unique_by=lambda one: (one.step, one.attempt)),
)
rounds = st.lists(st.tuples(facts, st.integers(-5, 40), controls, st.booleans()), min_size=1, max_size=8)


def _bounded(status: WorkflowExecutionStatus) -> None:
    assert sum(size(step.outputs) for step in status.steps) <= OUTPUTS
    assert sum(len((step.message or "").encode()) for step in status.steps) <= MESSAGES
    assert sum(len(text.encode()) for step in status.steps for text in step.changed or ()) <= SENTENCES
    valid: type[ApiModel] = WorkflowExecutionStatus
    slim = status.replace(steps=[step.replace(intent=None) for step in status.steps])
    assert valid.from_wire(slim.wire()) == slim
    assert size(status.outputs) <= OUTPUTS


@settings(max_examples=60)
@given(st.sampled_from(PLANS), rounds)
def test_any_facts_lead_to_a_valid_status_and_the_same_facts_to_the_same(plan: Any, rounds: Any) -> None:
    run, now = a_run(), NOW
    for given_facts, seconds, control, stored in rounds:
        now += timedelta(seconds=seconds)
        run = Run(run.uid, run.namespace, run.name, 1, {}, control, run.stored, run.status)
        decision = advance(run, plan, given_facts, now)
        assert decision == advance(run, plan, given_facts, now)
        _bounded(decision.status)
        assert not (run.status.phase.final and decision.status != run.status)
        assert not (decision.status.phase.final and decision.acts)
        names = [act.step.name for act in decision.acts]
        assert len(names) == len(set(names))
        assert not set(names) & given_facts.in_flight
        if given_facts.hold is not None:
            assert not names
        kept = decision.status if stored or decision.store_first else run.stored
        run = Run(run.uid, run.namespace, run.name, 1, {}, control, kept, decision.status)
