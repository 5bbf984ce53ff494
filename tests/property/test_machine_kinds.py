"""Steps of every kind and policy: whatever is lost, doubled or late, a run comes to one end, each effect once."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from builders import WorkflowBuilder, a_workflow, steps
from happenings import Case, control, happen, happenings, intervene, live
from kubernaut.api.execution import Remedy
from kubernaut.api.reasons import Reason
from simulation import Engine, check_effects, check_end, end_of

TEMPLATES = 3
ACTIONS = ("fake_marked", "fake_marked", "fake_pinned", "fake_read", "fake_job")
REMEDIES = (
    [Remedy.SKIP],
    [Remedy.RETRY, Remedy.SKIP],
    [Remedy.RETRY, Remedy.RETRY, Remedy.FAIL],
    [Remedy.FAIL],
    [Remedy.ROLLBACK],
)
NO_EFFECT = (Reason.CONFLICT, Reason.REJECTED)


class Drawing:
    """A Workflow in the drawing: chains of steps; a template may use those of a smaller number."""

    def __init__(self, draw: st.DrawFn, *, failing: bool, reasons: tuple[Reason, ...] = NO_EFFECT) -> None:
        self._draw = draw
        self._failing = failing
        self._reasons = reasons
        self.fields: dict[str, str] = {}
        self.troubles: dict[str, list[Reason]] = {}
        self.remedies: dict[str, list[Remedy]] = {}
        self.workflow = a_workflow()

    def one(self, *values: Any) -> Any:
        return self._draw(st.sampled_from(values))

    def number(self, most: int, least: int = 0) -> int:
        return self._draw(st.integers(least, most))

    def case(self) -> Case:
        """Draw a whole Workflow."""
        for at in range(TEMPLATES):
            body = self.chain(steps(), f"t{at}s", self.number(2, 1), below=at, inside=True, last=at == 0)
            self.workflow.template(f"t{at}", body)
        self.chain(self.workflow, "s", self.number(4, 1), below=TEMPLATES)
        policy = self.one("Fail", "Continue", "Rollback", "Alternate", "Manual") if self._failing else "Fail"
        self.workflow.set(onFailure=policy)
        if policy == "Alternate":
            self.workflow.set(alternate="t0")
        if policy == "Manual":
            self.remedies |= {
                f"s{at}": self.one(*REMEDIES) for at in range(4) if f"s{at}" not in self.remedies
            }
        if self.number(2) == 0:
            self.workflow.last(self.chain(steps(), "z", self.number(2, 1), below=1, last=True))
        if self.number(2) == 0:
            self.workflow.verify(
                f"target.status.level >= {self.number(2)}", stabilization="3s", timeout="10s"
            )
        return Case(
            self.workflow.plan(), self.fields, self.troubles, str(_brief(self.workflow._spec)), self.remedies
        )

    def chain(
        self,
        body: WorkflowBuilder,
        prefix: str,
        length: int,
        below: int,
        *,
        inside: bool = False,
        last: bool = False,
    ) -> WorkflowBuilder:
        """Add steps of which each depends on the one before."""
        for at in range(length):
            name = f"{prefix}{at}"
            needs = f"{prefix}{at - 1}" if at else ""
            self._step(body, name, needs, below, inside=inside, last=last)
        return body

    def _step(
        self, body: WorkflowBuilder, name: str, needs: str, below: int, *, inside: bool, last: bool
    ) -> None:
        kinds = [*ACTIONS, "wait", "subflow"]
        if not last:
            kinds.append("approval")
        if below:
            kinds += ["switch", "each", "select"]
        kind = self.one(*kinds)
        more: dict[str, Any] = {} if last else self._policy(name, below, inside)
        if self.number(7) == 0 and kind != "wait":
            more["resources"] = [{"name": "scarce", "amount": 1}]
        when = f"target.status.level < {self.number(3)}" if self.number(5) == 0 else None
        retries = self.number(2)
        match kind:
            case "wait":
                body.wait(name, self.one("1s", "3s"), needs, when=when, **more)
            case "approval":
                body.approval(name, needs, when=when, **more)
            case "subflow":
                body.subflow(name, needs=needs, when=when, retries=retries, **more)
            case "switch":
                conditions = ("target.status.level > 1", "true", "false", "target.status.level == 0")
                cases = {
                    f"t{self.number(below - 1)}": self.one(*conditions) for _ in range(self.number(2, 1))
                }
                default = self.one(None, f"t{self.number(below - 1)}")
                body.switch(name, cases, needs, default=default, when=when, **more)
            case "each" | "select":
                places = 1 if self._failing else self.number(3, 1)
                given: dict[str, Any] = {"items_from": f"[1, 2, 0].filter(x, x < {self.number(3)})"}
                if kind == "select":
                    given = {"select": "app=web"}
                body.each(
                    name, f"t{self.number(below - 1)}", needs, parallelism=places, when=when, **given, **more
                )
            case _:
                wanted = self.one(0, 1, 2, 3, "=target.status.level + 1")
                with_ = {"replicas": wanted} if kind == "fake_marked" else None
                body.step(name, kind, needs, when=when, with_=with_, retries=retries, **more)
                if not inside:
                    self.fields[name] = "level"
        if kind in (*ACTIONS, "subflow") and self.number(2) == 0:
            most = 2 if self._failing and not last else retries
            reasons = self._reasons if self._failing else (Reason.CONFLICT,)
            self.troubles[name] = [self.one(*reasons) for _ in range(self.number(most))]

    def _policy(self, name: str, below: int, inside: bool) -> dict[str, Any]:
        if not self._failing or self.number(1):
            return {}
        choices = ["Fail", "Continue", "Manual"] + ["Rollback"] * (not inside) + ["Alternate"] * bool(below)
        found = self.one(*choices)
        if found == "Manual":
            self.remedies[name] = self.one(*REMEDIES)
        if found == "Alternate":
            return {"onFailure": found, "alternate": f"t{self.number(below - 1)}"}
        return {"onFailure": found}


def _brief(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _brief(value) for key, value in node.items() if value not in (None, [], {}, "5m")}
    return [_brief(one) for one in node] if isinstance(node, list) else node


@st.composite
def chains(draw: st.DrawFn, reasons: tuple[Reason, ...] = NO_EFFECT) -> Case:
    """Workflows whose steps follow one upon the other, and may fail: their end is determined."""
    return Drawing(draw, failing=True, reasons=reasons).case()


@st.composite
def broad(draw: st.DrawFn) -> Case:
    """Workflows whose items are done beside each other; none fails for good."""
    return Drawing(draw, failing=False).case()


@settings(max_examples=100)
@given(chains(), happenings)
def test_faults_change_neither_the_end_of_a_run_nor_its_effects(
    case: Case, events: list[tuple[int, int]]
) -> None:
    calm, rough = case.engine(), case.engine()
    live(calm, [])
    live(rough, events)
    event(str(calm.run.status.phase))
    assert end_of(rough) == end_of(calm)


@settings(max_examples=50)
@given(broad(), happenings)
def test_faults_change_nothing_for_items_that_are_done_beside_each_other(
    case: Case, events: list[tuple[int, int]]
) -> None:
    calm, rough = case.engine(), case.engine()
    live(calm, [])
    live(rough, events)
    assert end_of(rough) == end_of(calm)


@settings(max_examples=50)
@given(st.one_of(chains(), broad()))
def test_every_effect_can_be_decided_again_from_what_is_stored(case: Case) -> None:
    """Where the operator dies before an effect, it asks for the same again: same attempt, same parameters."""
    engine = case.engine()
    engine.decide()
    while not engine.over:
        for act in engine.last.acts:
            assert _asked_again(engine, act.step.name) == (act.attempt, act.parameters, act.intent, act.undo)
        engine.go_on()


def _asked_again(engine: Engine, name: str) -> object:
    twin = engine.twin()
    twin.crash()
    twin.decide()
    for _ in range(50):
        if name in twin.flying:
            act = twin.flying[name].act
            return act.attempt, act.parameters, act.intent, act.undo
        assert not twin.over, f"{name} was not asked for again"
        twin.go_on()
    raise AssertionError(f"{name} was not asked for again")


@settings(max_examples=100)
@given(
    chains((Reason.CONFLICT, Reason.INTERNAL, Reason.STEP_TIMEOUT)),
    happenings,
    st.integers(0, 20),
    st.sampled_from(["cancel", "pause", "hold", "gone", "late", "another owner"]),
)
def test_from_any_state_a_run_ends_within_its_time_whatever_comes_between(
    case: Case, events: list[tuple[int, int]], at: int, what: str
) -> None:
    engine = case.engine()
    engine.decide()
    for index, (kind, which) in enumerate(events):
        if engine.over:
            break
        if index == at:
            intervene(engine, what)
        happen(engine, kind, which)
        check_effects(engine)
    engine.hold = None
    control(engine, paused=False)
    engine.drain()
    engine.haunt()
    check_effects(engine)
    check_end(engine)
    if engine.run.status.verdict == "RolledBack":
        main = {name for name in engine.world.marks if not name.startswith("z")}
        assert main == engine.world.undone
