"""Notifications: what is read for them, what is put off, and that nothing which is not stored counts as taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import ANNOTATION_ALERTS, LABEL_CLUSTER_SCOPED
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import Forbidden, StepError, Unavailable
from kubernaut.core.incidents import read_episode
from kubernaut.core.plan import PlanInvalid
from kubernaut.core.ports import Manifest
from kubernaut.intake.episodes import Episodes
from kubernaut.intake.incidents import Incidents
from kubernaut.intake.matching import BELIEVED, Matching, Triggers
from kubernaut.intake.notifications import Notifications, Taken
from kubernaut.intake.payload import Notification
from unit.engine.world import EngineCluster, deployment

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def workflow(name: str = "fix", namespace: str = "shop", value: str = "=owner.name") -> Manifest:
    trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": {"deployment": value}}
    spec = {
        "serviceAccountName": "repair",
        "parameters": [{"name": "deployment", "required": True}],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "steps": [{"name": "restart", "action": "restart_deployment"}],
        "triggers": [trigger],
    }
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "generation": 1}
    return {"apiVersion": "kubernaut.io/v1alpha1", "kind": "Workflow", "metadata": meta, "spec": spec}


class Cluster(EngineCluster):
    #: seconds that a patch takes
    slow = 0.0

    async def patch(self, *what: Any, **more: Any) -> Manifest:
        if self.slow:
            await asyncio.sleep(self.slow)
        return await super().patch(*what, **more)

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        meta = {**manifest["metadata"], "creationTimestamp": NOW.isoformat()}
        return await super().create({**manifest, "metadata": meta})

    async def list_pages(
        self, *what: str, label_selector: str = "", **more: object
    ) -> AsyncIterator[list[Manifest]]:
        async for page in super().list_pages(*what):
            name, _, value = label_selector.split(",")[-1].partition("=")
            yield [one for one in page if one["metadata"]["labels"].get(name) == value]


class Desk:
    """A replica's intake over a cluster in memory."""

    def __init__(self, *workflows: Manifest, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster()
        self.cluster.add(
            deployment("web"),
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "namespace": ""}},
        )
        self.seconds = 0.0
        self.compiled = 0
        self.workflows = list(workflows) or [workflow()]
        registry = ActionRegistry(installed=False)

        def plan_of(manifest: Manifest) -> Any:
            self.compiled += 1
            try:
                return compile_plan(WorkflowSpec.from_wire(manifest["spec"]), registry)
            except PlanInvalid as error:
                raise StepError(str(error)) from error

        triggers = Triggers(lambda: self.workflows, plan_of)
        matching = Matching(self.cluster, triggers, "namespace", lambda: self.seconds)
        episodes = Episodes(self.cluster, lambda: self.seconds)
        self.incidents = Incidents(episodes, lambda: NOW)
        self.notifications = Notifications(matching, episodes, self.incidents, lambda: NOW)

    async def take(self, *alerts: Manifest) -> Taken:
        told = {"version": "4", "receiver": "kubernaut", "alerts": list(alerts)}
        return await self.notifications.take(Notification.model_validate(told))

    def runs(self) -> list[Manifest]:
        return [one for (kind, _, _), one in self.cluster.objects.items() if kind == "WorkflowExecution"]

    def asked(self, what: str) -> int:
        return sum(one == what for one in self.cluster.requests)


def alert(fingerprint: str = "aa", *, resolved: bool = False, **labels: str) -> Manifest:
    ends = {"endsAt": (NOW - timedelta(seconds=5)).isoformat()} if resolved else {}
    return {
        "status": "resolved" if resolved else "firing",
        "labels": {"alertname": "Broken", "namespace": "shop", "deployment": "web", **labels},
        "startsAt": (NOW - timedelta(minutes=1)).isoformat(),
        "fingerprint": fingerprint,
        **ends,
    }


async def test_what_was_read_for_the_first_alert_is_read_once_and_starts_its_run() -> None:
    desk = Desk()
    taken = await desk.take(alert())
    assert +taken.outcomes == Counter(started=1)
    assert desk.asked("get Deployment web") == 1


async def test_a_target_that_is_believed_is_read_anew_before_a_run_is_started_for_it() -> None:
    desk = Desk(workflow(), workflow("other"))
    taken = await desk.take(alert())
    assert +taken.outcomes == Counter(started=2)
    # The second Workflow's target was read for the first just now, which is not good enough to pin it.
    assert desk.asked("get Deployment web") == 2


async def test_a_resolution_that_can_not_be_placed_now_is_told_again_and_not_counted() -> None:
    desk = Desk()
    desk.cluster.troubles["get"] = [Unavailable("away")]
    taken = await desk.take(alert(resolved=True))
    assert "away" in taken.again
    assert +taken.outcomes == Counter(deferred=1)
    assert +(await desk.take(alert(resolved=True))).outcomes == Counter(resolved=1)


async def test_a_resolution_of_what_is_gone_is_taken() -> None:
    desk = Desk()
    taken = await desk.take(alert(resolved=True, deployment="gone"))
    assert taken.again == ""
    assert +taken.outcomes == Counter(resolved=1)


async def test_a_resolution_that_was_never_heard_to_fire_ends_its_part_of_the_episode() -> None:
    desk = Desk()
    await desk.take(alert("aa"))
    await desk.take(alert("bb", resolved=True))
    (run,) = desk.runs()
    assert '"bb"' in run["metadata"]["annotations"]["kubernaut.io/alerts"]


async def test_an_alert_that_can_not_be_stored_now_is_told_again() -> None:
    desk = Desk()
    desk.cluster.troubles["create"] = [Unavailable("away")]
    taken = await desk.take(alert())
    assert taken.again
    assert +taken.outcomes == Counter(deferred=1)
    assert +(await desk.take(alert())).outcomes == Counter(started=1)


async def test_an_answer_comes_once_it_is_stored_which_alerts_joined() -> None:
    desk = Desk()
    await desk.take(alert("aa"))
    taken = await desk.take(alert("bb"))
    assert +taken.outcomes == Counter(joined=1)
    (run,) = desk.runs()
    assert '"bb"' in run["metadata"]["annotations"]["kubernaut.io/alerts"]


@pytest.mark.looptime
async def test_many_that_join_at_once_are_stored_by_few_writes() -> None:
    desk = Desk()
    await desk.take(alert("aa"))
    before = len(desk.cluster.requests)
    desk.cluster.slow = 0.01
    every = await asyncio.gather(*(desk.take(alert(f"b{number}")) for number in range(40)))
    assert sum((one.outcomes for one in every), Counter()) == Counter(joined=40)
    (run,) = desk.runs()
    assert run["metadata"]["annotations"]["kubernaut.io/alerts"].count('"b') == 40
    assert sum(one.startswith("patch") for one in desk.cluster.requests[before:]) <= 10


async def test_alerts_of_which_it_can_not_be_stored_that_they_joined_are_told_again() -> None:
    desk = Desk()
    await desk.take(alert("aa"))
    desk.cluster.troubles["patch"] = [Unavailable("away")]
    taken = await desk.take(alert("bb"))
    assert "away" in taken.again
    assert +taken.outcomes == Counter(deferred=1)
    # The same alert changes nothing that is known, and still is not taken before it is stored.
    assert +(await desk.take(alert("bb"))).outcomes == Counter(joined=1)
    (run,) = desk.runs()
    assert '"bb"' in run["metadata"]["annotations"]["kubernaut.io/alerts"]


@pytest.mark.looptime
async def test_who_waits_too_long_for_what_joined_to_be_stored_is_told_to_come_again() -> None:
    desk = Desk()
    await desk.take(alert("aa"))

    desk.cluster.slow = 3600
    taken = await desk.take(alert("bb"))
    assert "was not written within 8 s" in taken.again


async def test_workflows_of_confined_namespaces_are_not_asked_for_with_each_alert_of_another() -> None:
    desk = Desk(*(workflow(namespace=f"team-{number}") for number in range(5)))
    for number in range(5):
        desk.cluster.add(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"team-{number}", "namespace": ""}}
        )
    for _ in range(20):
        assert +(await desk.take(alert())).outcomes == Counter(unmatched=1)
    assert desk.asked("get Namespace team-3") == 1
    desk.cluster.find("Namespace", "team-3", "")["metadata"]["labels"] = {LABEL_CLUSTER_SCOPED: "true"}
    desk.seconds += BELIEVED
    assert +(await desk.take(alert())).outcomes == Counter(unresolved=1)


async def test_a_label_that_a_workload_can_set_names_no_namespace() -> None:
    desk = Desk(workflow(namespace="shop"))
    told = alert(exported_namespace="shop", namespace="intruder")
    assert +(await desk.take(told)).outcomes == Counter(unmatched=1)
    assert desk.runs() == []


async def test_workflows_are_compiled_once_for_all_alerts_of_all_notifications() -> None:
    desk = Desk(workflow(), workflow("other"))
    for _ in range(5):
        await desk.take(*(alert(f"{number:x}") for number in range(16)))
    assert desk.compiled == 2
    desk.workflows[0] = {**desk.workflows[0], "metadata": {**desk.workflows[0]["metadata"], "generation": 2}}
    await desk.take(alert())
    assert desk.compiled == 4


async def test_an_alert_without_a_name_is_one_incident_too() -> None:
    nameless = workflow()
    nameless["spec"]["triggers"][0]["alert"] = {"matchLabels": {"namespace": "shop"}}
    desk = Desk(nameless)
    told = alert()
    del told["labels"]["alertname"]
    assert +(await desk.take(told)).outcomes == Counter(started=1)
    ended = {**alert(resolved=True), "labels": told["labels"]}
    await desk.take(ended)
    assert '"overAt"' in desk.runs()[0]["metadata"]["annotations"]["kubernaut.io/alerts"]
    assert desk.runs()[0]["spec"]["trigger"]["alert"]["name"] == "-"


async def test_a_workflow_that_is_not_ready_is_started_by_nothing(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    def broken(manifest: Manifest) -> Any:
        raise StepError("it is not ready")

    desk.notifications._matching._triggers._plan_of = broken
    assert +(await desk.take(alert())).outcomes == Counter(unmatched=1)
    assert "no alert starts a Workflow that is not ready" in caplog.text


@pytest.mark.parametrize(("life", "runs"), [("Draft", 0), ("Deprecated", 0), ("Active", 1)])
async def test_no_alert_starts_a_workflow_that_is_not_active(life: str, runs: int) -> None:
    declared = workflow()
    declared["spec"]["lifecycle"] = life
    desk = Desk(declared)
    await desk.take(alert())
    assert len(desk.runs()) == runs


@pytest.mark.parametrize(
    "at",
    [
        "9999-12-31T23:59:59-10:00",
        "0001-01-01T00:00:00+10:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
async def test_an_alert_of_an_impossible_time_keeps_no_other_from_being_taken(at: str) -> None:
    desk = Desk()
    odd = {**alert("bb", resolved=True), "startsAt": at, "endsAt": at}
    taken = await desk.take({**alert("aa"), "startsAt": at}, odd, alert("cc"))
    assert taken.again == ""
    (run,) = desk.runs()
    assert read_episode(1, run["metadata"]["annotations"][ANNOTATION_ALERTS], NOW).alerts.keys() >= {
        "aa",
        "cc",
    }


async def test_what_two_replicas_opened_for_one_alert_is_resolved_by_either() -> None:
    here = Desk(workflow())
    await here.take(alert())
    there = Desk(workflow(), workflow("other"), cluster=here.cluster)
    await there.take(alert())
    assert len(here.runs()) == 2
    here.workflows[:] = there.workflows
    await here.take(alert(resolved=True))
    for run in here.runs():
        assert read_episode(1, run["metadata"]["annotations"][ANNOTATION_ALERTS], NOW).resolved_at is not None


@pytest.mark.parametrize(
    "change", [{"lifecycle": "Deprecated"}, {"steps": [{"name": "no", "action": "no_such"}]}]
)
async def test_a_resolution_reaches_a_run_whose_workflow_no_alert_starts_any_more(
    change: dict[str, Any],
) -> None:
    desk = Desk()
    await desk.take(alert())
    edited = workflow()
    edited["metadata"]["generation"] = 2
    edited["spec"] |= change
    later = Desk(edited, cluster=desk.cluster)
    assert +(await later.take(alert(resolved=True))).outcomes == Counter(resolved=1)
    (run,) = desk.runs()
    assert read_episode(1, run["metadata"]["annotations"][ANNOTATION_ALERTS], NOW).resolved_at is not None


async def test_what_can_not_be_written_of_one_incident_keeps_no_other_from_being_written() -> None:
    desk = Desk(workflow(), workflow("other"))
    await desk.take(alert("aa"))
    desk.cluster.troubles["patch"] = [Unavailable("away"), Unavailable("away")]
    await desk.take(alert("bb"))
    desk.cluster.troubles["patch"] = [Forbidden("denied by a webhook")]
    await desk.incidents.flush()
    assert sum('"bb"' in run["metadata"]["annotations"][ANNOTATION_ALERTS] for run in desk.runs()) == 1
