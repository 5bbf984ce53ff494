"""What others lay in the way of a run: marks, kept Secrets, snapshots, Jobs and runs under its names, parents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from e2e.feed import Manifest
from e2e.websteps import acting, gate, note
from e2e.world import REPAIR, Place, Run, done, execution
from escalation.played.guarded import MARKS
from escalation.played.story import ENGINE, Played, flow, outcome, run
from escalation.tables.answers import GIVEN
from escalation.tables.reach import SCOPE
from escalation.tables.runs import ORIGIN, TENANT
from escalation.tables.system import SNAPSHOTS
from escalation.tables.workflows import ACCOUNT
from kubernaut.api.names import marker_annotation
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.marker import Marker, Signer, StepMark
from kubernaut.core.naming import child_job, child_run

KEPT = "kept Secrets tampered with"
TAKEN = "names taken before a step creates its object"
_OTHERS_KEY = Signer(b"somebody else's key, of some length")
Meddle = Callable[[Place, Run], None]


def _nothing(place: Place, run: Run) -> None:
    return None


def _gated(meddle: Meddle) -> Any:
    """Play a run in which somebody meddles while it waits before its only effect."""

    def play(place: Place, name: str) -> str:
        one = flow(gate("gate", label=f"go-{name}"), note(name, "gate")).started(place, name)
        one.step_is("gate", "Waiting")
        meddle(place, one)
        place.label(**{f"go-{name}": "yes"})
        told = outcome(one.end())
        assert (name in done(place)) is (told == "")
        return told

    return play


def _mark(text: Callable[[Place, Run], str]) -> Meddle:
    def meddle(place: Place, run: Run) -> None:
        annotations = {marker_annotation(run.uid): text(place, run)}
        place.change("Deployment", "web", {"metadata": {"annotations": annotations}})

    return meddle


def _signed(place: Place, run: Run) -> str:
    uid = place.get("Deployment", "web")["metadata"]["uid"]
    marker = Marker(run.uid, uid, {run.name: StepMark(1, {}, {})})
    return marker.annotation(_OTHERS_KEY)[marker_annotation(run.uid)]


def _unsigned(place: Place, run: Run) -> str:
    return json.dumps({**json.loads(_signed(place, run)), "sig": ""})


def _elsewhere(place: Place, run: Run) -> str:
    return json.dumps({**json.loads(_signed(place, run)), "object": "another-uid"})


def _marks() -> list[Played]:
    twin = _gated(_nothing)
    texts: dict[str, Callable[[Place, Run], str]] = {
        "lays one ready that another key signed": _signed,
        "lays one ready without a signature": _unsigned,
        "lays one ready of another object": _elsewhere,
        "lays one ready that is no JSON": lambda place, run: "done",
        "lays one ready that is empty": lambda place, run: "{}",
    }
    return [
        Played(MARKS, what, ENGINE, "that this operator did not sign", _gated(_mark(text)), twin)
        for what, text in texts.items()
    ]


def _environment(value: str) -> Manifest:
    app = {"name": "app", "image": "kubernaut.local/pause:1", "env": [{"name": "WORD", "value": value}]}
    return {"spec": {"template": {"spec": {"containers": [app]}}}}


def _kept(meddle: Meddle) -> Any:
    """Play a run that is put back from a Secret, which somebody meddles with before that."""

    def play(place: Place, name: str) -> str:
        one = flow(
            acting("change", patch=_environment(name)),
            gate("gate", "change", label=f"go-{name}"),
            note("fails", "gate", expect={"spec.replicas": 99}),
            onFailure="Rollback",
            rollback={"retry": {"limit": 0}},
        ).started(place, name)
        one.step_is("gate", "Waiting")
        meddle(place, one)
        place.label(**{f"go-{name}": "yes"})
        status = one.end()
        told = json.dumps(status["steps"])
        return "" if status["verdict"] == "RolledBack" else f"{status.get('message')} {told}"

    return play


def _image(place: Place, run: Run) -> Manifest:
    (found,) = [
        one
        for one in place.list("Secret")
        if any(owner["uid"] == run.uid for owner in one["metadata"].get("ownerReferences", []))
    ]
    return found


def _replaced(change: Callable[[Manifest], Manifest]) -> Meddle:
    def meddle(place: Place, run: Run) -> None:
        seen = _image(place, run)
        place.delete("Secret", seen["metadata"]["name"])
        made = {**change(seen), "metadata": {"name": seen["metadata"]["name"]}}
        place.create("Secret", {key: made[key] for key in ("metadata", "type", "data")})

    return meddle


def _rewritten(seen: Manifest) -> Manifest:
    images = json.loads(base64.b64decode(seen["data"]["images"]))
    images["before"] = {path: [{"name": "WORD", "value": "forged"}] for path in images["before"]}
    text = json.dumps(images, sort_keys=True, separators=(",", ":"))
    return {**seen, "data": {"images": base64.b64encode(text.encode()).decode()}}


def _secrets() -> list[Played]:
    twin = _kept(_nothing)

    def deleted(place: Place, run: Run) -> None:
        place.delete("Secret", _image(place, run)["metadata"]["name"])

    emptied = _replaced(lambda seen: {**seen, "data": {}})
    return [
        Played(
            KEPT,
            "writes other values into one",
            ENGINE,
            "does not hold what step change kept",
            _kept(_replaced(_rewritten)),
            twin,
        ),
        Played(KEPT, "empties one", ENGINE, "does not hold what step change kept", _kept(emptied), twin),
        Played(
            KEPT, "deletes one", ENGINE, "is gone, and with it what step change changed", _kept(deleted), twin
        ),
    ]


def _snapshots() -> list[Played]:
    def migrated(place: Place, name: str) -> str:
        data = {**_spec("other"), "serviceAccountName": "cluster-root"}
        laid = {"metadata": {"name": f"{name}-forged"}, "revision": 9, "data": data}
        place.create("ControllerRevision", laid)
        one = flow(gate("gate", label=f"go-{name}"), note(name, "gate")).started(place, name)
        one.step_is("gate", "Waiting")
        one.control(paused=True)
        one.held("Paused")
        one.control(migrateTo=f"{name}-forged")
        seen = one.wait(lambda r: "none of the newest" in json.dumps(r.get("status")), "it is told why not")
        one.control(paused=False)
        place.label(**{f"go-{name}": "yes"})
        assert outcome(one.end()) == ""
        return json.dumps(seen["status"])

    def claimed(place: Place, name: str) -> str:
        made = flow(note(name))
        body = {
            "serviceAccountName": REPAIR,
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "steps": list(made.steps),
            **made.spec,
        }
        spec = WorkflowSpec.model_validate(body)
        named = snapshot_name(name, content_hash(spec))
        forged = spec.wire() | {"serviceAccountName": "cluster-root"}
        place.create("ControllerRevision", {"metadata": {"name": named}, "revision": 1, "data": forged})
        meta = {"apiVersion": "kubernaut.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}}
        place.create("Workflow", {**meta, "spec": body})
        return outcome(place.run(name, name).end())

    def resumed(place: Place, name: str) -> str:
        one = flow(note(name)).started(place, name, control={"paused": True})
        one.held("Paused")
        one.control(paused=False)
        return outcome(one.end())

    return [
        Played(
            SNAPSHOTS,
            "moves a run to one that somebody laid ready",
            ENGINE,
            "is none of the newest revisions",
            migrated,
            resumed,
        ),
        Played(
            SNAPSHOTS,
            "lays one ready under the name of a Workflow's content",
            ENGINE,
            "is not the snapshot that its name says",
            claimed,
            run(flow(note("plain"))),
        ),
    ]


def _spec(name: str) -> Manifest:
    return {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "steps": [{"name": name, "action": "notify_only", "with": {"message": "x"}}],
    }


def _taken(step: Manifest, take: Callable[[Place, Run], None]) -> Any:
    """Play a run that is created paused, so that what its step will create can be there first."""

    def play(place: Place, name: str) -> str:
        one = flow(step).started(place, name, control={"paused": True})
        one.held("Paused")
        take(place, one)
        one.control(paused=False)
        return outcome(one.end())

    return play


def _names() -> list[Played]:
    job = {"name": "work", "action": "run_job", "timeout": "2m", "with": {"image": "kubernaut.local/pause:1"}}
    sub = {"name": "sub", "workflow": {"name": "plain"}, "timeout": "2m"}

    def squatted(place: Place, run: Run) -> None:
        app = {"name": "job", "image": "kubernaut.local/pause:1"}
        pod = {"restartPolicy": "Never", "containers": [app], "serviceAccountName": REPAIR}
        name = child_job(run.name, run.uid, "work", 1)
        place.create(
            "Job", {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}
        )

    def started(place: Place, run: Run) -> None:
        name = child_run(run.name, run.uid, "sub", 1)
        place.create("WorkflowExecution", execution(place.namespace, name, "plain", {}))

    return [
        Played(
            TAKEN,
            "takes the name of a step's Job",
            ENGINE,
            "was not created by this attempt",
            _taken(job, squatted),
            _taken(job, _nothing),
        ),
        Played(
            TAKEN,
            "takes the name of a step's run",
            ENGINE,
            "was not started by step sub",
            _taken(sub, started),
            _taken(sub, _nothing),
        ),
    ]


def _child(place: Place, name: str, parent: Manifest) -> str:
    body = execution(place.namespace, name, "plain", {})
    body["spec"] |= {"parent": parent, "trigger": {"type": "Subflow", "by": parent["name"]}}
    with place.world.admin.account(place.namespace, REPAIR) as account:
        answer = place.post("WorkflowExecution", body, account)
    assert answer.ok, answer
    return outcome(Run(place, answer.body).end())


def _origins() -> list[Played]:
    sub = run(flow({"name": "sub", "workflow": {"name": "plain"}, "timeout": "2m"}))

    def gone(place: Place, name: str) -> str:
        return _child(place, name, {"name": "nobody", "uid": "1", "step": "sub", "depth": 1})

    def over(place: Place, name: str) -> str:
        above = flow(note(f"{name}-above")).started(place, f"{name}-above")
        above.end()
        return _child(
            place, name, {"name": above.name, "uid": above.uid, "step": f"{name}-above", "depth": 1}
        )

    def ended(place: Place, name: str) -> str:
        above = flow(note("first"), gate("gate", "first", label=f"go-{name}")).started(place, f"{name}-above")
        above.step_is("gate", "Waiting")
        told = _child(place, name, {"name": above.name, "uid": above.uid, "step": "first", "depth": 1})
        above.control(cancel=True)
        above.end()
        return told

    def again(of: str) -> Any:
        def play(place: Place, name: str) -> str:
            go = f"go-{name}"
            first = flow(gate("gate", label=go), note(name, "gate")).started(place, f"{name}-first")
            first.step_is("gate", "Waiting")
            first.control(cancel=True)
            first.end()
            place.label(**{go: "yes"})
            if of == "plain":
                body = execution(place.namespace, name, "plain", {})
            else:
                body = execution(place.namespace, name, f"{name}-first", {})
            body["spec"]["retryFrom"] = {"name": first.name}
            return outcome(Run(place, place.create("WorkflowExecution", body)).end())

        return play

    return [
        Played(ORIGIN, "names a parent that is not there", ENGINE, "which started it, is gone", gone, sub),
        Played(ORIGIN, "names a parent that is over", ENGINE, "which started it, had ended", over, sub),
        Played(ORIGIN, "names a step that is over", ENGINE, "which started it, had ended", ended, sub),
        Played(
            TENANT,
            "takes over what another Workflow's run did",
            ENGINE,
            "is of Workflow",
            again("plain"),
            again(""),
        ),
    ]


def _overrides() -> list[Played]:
    ask = {"name": "ask", "approval": {"message": "May it?", "mayOverride": ["count"]}}
    one = flow(ask, note("act", "ask"), parameters=["count", "deployment"])

    def answered(parameter: str) -> Any:
        def play(place: Place, name: str) -> str:
            waiting = one.started(place, name)
            waiting.step_is("ask", "Waiting")
            record = {
                "step": "ask",
                "decision": "Approve",
                "by": "admin",
                "parameters": [{"name": parameter, "value": "2"}],
            }
            waiting.control(approvals=[record])
            return outcome(waiting.end())

        return play

    return [
        Played(
            GIVEN,
            "overrides a parameter that the step does not let the approver override",
            ENGINE,
            "the approver may override: count",
            answered("deployment"),
            answered("count"),
        ),
    ]


def _accounts() -> list[Played]:
    fine = run(flow(note("act")))

    def of(account: str, *steps_: Manifest) -> Any:
        return run(flow(*(steps_ or (note("act"),)), serviceAccountName=account))

    settings = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "patch": {"data": {"a": "b"}}}
    reach = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "name": "esc-class"}
    return [
        Played(
            ACCOUNT,
            "acts as an account that is not there",
            ENGINE,
            "ServiceAccountNotFound",
            of("nobody"),
            fine,
        ),
        Played(
            ACCOUNT,
            "acts as an account that the operator may not act as",
            ENGINE,
            "may not act as",
            of("default"),
            fine,
        ),
        Played(
            ACCOUNT,
            "does what its account may not",
            ENGINE,
            "MissingRight",
            run(flow({"name": "act", "action": "patch_resource", "with": settings})),
            fine,
            mighty=False,
        ),
        Played(
            ACCOUNT,
            "runs a Job that its account may not",
            ENGINE,
            "MissingRight",
            run(flow({"name": "act", "action": "run_job", "with": {"image": "x"}})),
            fine,
            mighty=False,
        ),
        Played(
            ACCOUNT,
            "starts a Workflow that acts as another account",
            ENGINE,
            "may not act as",
            run(flow({"name": "sub", "workflow": {"name": "foreign"}, "timeout": "2m"})),
            run(flow({"name": "sub", "workflow": {"name": "plain"}, "timeout": "2m"})),
        ),
        Played(
            SCOPE,
            "has a target of a kind that belongs to no namespace",
            ENGINE,
            "BeyondNamespace",
            run(flow(note("act"), target=reach)),
            fine,
        ),
        Played(
            SCOPE,
            "patches what belongs to no namespace",
            ENGINE,
            "acts in its own namespace only",
            run(
                flow(
                    {
                        "name": "act",
                        "action": "patch_resource",
                        "with": {**reach, "patch": {"metadata": {"labels": {"a": "b"}}}},
                    }
                )
            ),
            fine,
        ),
    ]


ROWS: list[Played] = [
    *_marks(),
    *_secrets(),
    *_snapshots(),
    *_names(),
    *_origins(),
    *_overrides(),
    *_accounts(),
]
