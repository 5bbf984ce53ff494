"""helm_rollback: what it changes, what it records, what it refuses."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.releases import release
from kubernaut.actions.releases.helm_rollback import HelmRollback
from kubernaut.actions.releases.planning import HelmRollbackParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Halts, StepContext
from kubernaut.core.errors import Forbidden, Invalid, StepError
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import container, context, deployment, template
from unit.actions.fake import FakeCluster, Lost
from unit.actions.releases import history, revision, unpacked

rollback = HelmRollback()


def app(image: str, **more: Any) -> Manifest:
    one = deployment(pod=template(container(image=image, **more)))
    return {**one, "metadata": {"name": "api", "labels": {"helm.sh/chart": f"shop-{image[-1]}"}}}


def settings(level: str = "info") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"level": level},
    }


def live(one: Manifest) -> Manifest:
    return {**copy.deepcopy(one), "metadata": {**one["metadata"], "namespace": "shop"}}


def a_cluster(*, newest: str = "deployed", **more: Any) -> FakeCluster:
    """A release at its third revision, whose image is bad; the second was good, the first failed."""
    cluster = FakeCluster(**more).add(
        revision(1, "failed", [app("shop/api:1"), settings("trace")]),
        revision(2, "superseded" if newest == "deployed" else "deployed", [app("shop/api:2"), settings()]),
        revision(3, newest, [app("shop/api:3"), settings("debug")]),
        live(app("shop/api:3")),
        live(settings("debug")),
    )
    cluster.writes.clear()
    return cluster


def wanted(**given: Any) -> HelmRollbackParameters:
    return HelmRollbackParameters.model_validate({"release": "shop", **given})


async def begun(cluster: FakeCluster, **given: Any) -> StepContext:
    """Return the step's context as it is once its intent is stored."""
    intent = await rollback.prepare(cluster, context(), wanted(**given))
    return context(intent=intent)


async def act(cluster: FakeCluster, step: StepContext | None = None, **given: Any) -> Done:
    return await rollback.perform(cluster, step or await begun(cluster, **given), wanted(**given))


def image(cluster: FakeCluster) -> str:
    spec = cluster.find("Deployment", "api")["spec"]["template"]["spec"]
    return str(spec["containers"][0]["image"])


def level(cluster: FakeCluster) -> str:
    return str(cluster.find("ConfigMap", "settings")["data"]["level"])


def writes(cluster: FakeCluster) -> list[str]:
    return [f"{verb} {what.split('/')[-1]}" for verb, what, _ in cluster.writes]


async def test_what_differs_is_changed_once_and_recorded_as_helm_does() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    done = await rollback.perform(cluster, step, wanted())
    assert (image(cluster), level(cluster)) == ("shop/api:2", "info")
    assert cluster.find("Deployment", "api")["metadata"]["labels"]["helm.sh/chart"] == "shop-2"
    assert history(cluster) == {
        1: ("failed", "Upgrade complete"),
        2: ("superseded", "Upgrade complete"),
        3: ("superseded", "Upgrade complete"),
        4: ("deployed", "Rollback to 2"),
    }
    assert done.outputs == {"from": 3, "to": 2, "revision": 4}
    assert writes(cluster) == [
        "create sh.helm.release.v1.shop.v4",
        "patch api",
        "patch settings",
        "patch sh.helm.release.v1.shop.v3",
        "patch sh.helm.release.v1.shop.v4",
    ]
    again = await rollback.perform(cluster, step, wanted())
    assert (again.acted, again.outputs, again.changed) == (True, done.outputs, done.changed)
    assert len(cluster.writes) == 5


async def test_the_new_revision_is_the_target_under_a_new_number() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    await rollback.perform(cluster, step, wanted())
    made = unpacked(cluster.find("Secret", "sh.helm.release.v1.shop.v4"))
    target = unpacked(cluster.find("Secret", "sh.helm.release.v1.shop.v2"))
    for part in ("manifest", "chart", "config", "namespace", "name"):
        assert made[part] == target[part]
    assert made["info"]["notes"] == "notes of 2"
    assert made["info"]["first_deployed"] == "2026-01-01T00:00:00.5Z"


async def test_what_others_changed_beside_it_stays() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    cluster.edit("Deployment", "api", {"spec": {"replicas": 7}})
    await rollback.perform(cluster, step, wanted())
    assert cluster.find("Deployment", "api")["spec"]["replicas"] == 7


async def test_a_revision_may_be_named() -> None:
    cluster = a_cluster()
    done = await act(cluster, revision=1)
    assert (image(cluster), done.outputs["to"]) == ("shop/api:1", 1)


async def test_after_a_failed_upgrade_the_deployed_revision_is_gone_back_to_and_superseded() -> None:
    cluster = a_cluster(newest="failed")
    step = await begun(cluster)
    await rollback.perform(cluster, step, wanted())
    assert {number: status for number, (status, _) in history(cluster).items()} == {
        1: "failed",
        2: "superseded",
        3: "failed",
        4: "deployed",
    }
    assert (await rollback.undo(cluster, step, wanted())).acted
    assert {number: status for number, (status, _) in history(cluster).items()} == {
        1: "failed",
        2: "deployed",
        3: "failed",
        4: "failed",
    }


@pytest.mark.parametrize("verb", ["create", "patch"])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("landed", [True, False])
async def test_lost_answers_change_nothing(verb: str, at: int, landed: bool) -> None:
    cluster = a_cluster(troubles={verb: [*[None] * at, Lost(landed)]})
    step = await begun(cluster)
    await rollback.perform(cluster, step, wanted())
    assert (image(cluster), level(cluster)) == ("shop/api:2", "info")
    assert history(cluster)[4] == ("deployed", "Rollback to 2")
    assert len(writes(cluster)) == 5


@pytest.mark.parametrize("at", range(4))
async def test_who_comes_back_after_a_crash_goes_on_where_it_was(at: int) -> None:
    cluster = a_cluster(troubles={"patch": [*[None] * at, Invalid("the process died here", status=422)]})
    step = await begun(cluster)
    with pytest.raises(Invalid):
        await rollback.perform(cluster, step, wanted())
    assert history(cluster)[4][0] == "pending-rollback"
    done = await rollback.perform(cluster, step, wanted())
    assert (image(cluster), level(cluster)) == ("shop/api:2", "info")
    assert (len(writes(cluster)), done.outputs["revision"]) == (5, 4)


@pytest.mark.parametrize("at", [None, 0, 1, 2, 3])
async def test_undo_puts_back_what_was_done_so_far_once(at: int | None) -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    if at is None:
        await rollback.perform(cluster, step, wanted())
    else:
        cluster.troubles["patch"] = [*[None] * at, Invalid("the process died here", status=422)]
        with pytest.raises(Invalid):
            await rollback.perform(cluster, step, wanted())
    assert (await rollback.undo(cluster, step, wanted())).acted
    assert (image(cluster), level(cluster)) == ("shop/api:3", "debug")
    assert history(cluster)[3][0] == "deployed"
    assert history(cluster)[4] == ("failed", "Rollback put back")
    count = len(cluster.writes)
    assert (await rollback.undo(cluster, step, wanted())).acted
    assert len(cluster.writes) == count
    assert isinstance(rollback, Halts)


async def test_undo_refuses_where_helm_has_made_a_newer_revision_since() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    await rollback.perform(cluster, step, wanted())
    cluster.add(revision(5, "deployed", [app("shop/api:5"), settings()]))
    with pytest.raises(StepError, match="has revision 5 by now") as caught:
        await rollback.undo(cluster, step, wanted())
    assert (caught.value.reason, image(cluster)) == (Reason.CHANGED_SINCE, "shop/api:2")


async def test_undo_refuses_where_someone_changed_a_field_since() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    await rollback.perform(cluster, step, wanted())
    cluster.edit("ConfigMap", "settings", {"data": {"level": "warn"}})
    with pytest.raises(StepError) as caught:
        await rollback.undo(cluster, step, wanted())
    assert caught.value.reason is Reason.CHANGED_SINCE


async def test_once_it_was_put_back_it_never_goes_on() -> None:
    cluster = a_cluster(troubles={"patch": [None, Invalid("the process died here", status=422)]})
    step = await begun(cluster)
    with pytest.raises(Invalid):
        await act(cluster, step)
    await rollback.undo(cluster, step, wanted())
    marks = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert "~fenced" in json.dumps(marks)
    with pytest.raises(StepError):
        await act(cluster, step)
    assert (image(cluster), level(cluster)) == ("shop/api:3", "debug")


async def test_undo_of_what_was_not_begun_changes_nothing() -> None:
    cluster = a_cluster()
    assert not (await rollback.undo(cluster, context(), wanted())).acted
    assert not (await rollback.undo(cluster, await begun(cluster), wanted())).acted
    assert cluster.writes == []


async def test_a_revision_that_helm_makes_before_it_has_begun_stops_it() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    cluster.add(revision(4, "deployed", [app("shop/api:4"), settings()]))
    with pytest.raises(StepError, match="has revision 4 by now"):
        await act(cluster, step)
    assert (image(cluster), cluster.writes) == ("shop/api:3", [])


async def test_once_helm_has_written_its_record_anew_it_is_found_on_the_objects_and_not_done_again() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    first = await act(cluster, step)
    cluster.edit("Secret", "sh.helm.release.v1.shop.v4", {"metadata": {"annotations": None}})
    cluster.add(revision(5, "deployed", [app("shop/api:2"), settings("warn")]))
    count = len(cluster.writes)
    again = await act(cluster, step)
    assert (again.acted, again.changed, len(cluster.writes)) == (True, first.changed, count)
    with pytest.raises(StepError, match="has revision 5 by now") as caught:
        await rollback.undo(cluster, step, wanted())
    assert caught.value.reason is Reason.CHANGED_SINCE


async def test_where_helm_is_quicker_nothing_is_changed() -> None:
    cluster = a_cluster()
    step = await begun(cluster)
    theirs = revision(4, "pending-upgrade", [app("shop/api:4"), settings()])
    cluster.troubles["create"] = [lambda: cluster.add(theirs)]
    with pytest.raises(StepError, match="was not created by this attempt"):
        await rollback.perform(cluster, step, wanted())
    assert (image(cluster), cluster.writes) == ("shop/api:3", [])


async def refused(cluster: FakeCluster, told: str, **given: Any) -> StepError:
    before = copy.deepcopy(cluster.objects)
    with pytest.raises(StepError, match=told) as caught:
        await act(cluster, **given)
    assert cluster.writes == []
    assert cluster.objects == before
    return caught.value


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-install", "uninstalling", "uninstalled"])
async def test_a_release_in_the_middle_of_something_is_left_alone(status: str) -> None:
    error = await refused(a_cluster(newest=status), f"is {status}: another operation")
    assert error.reason is Reason.PRECONDITION_FAILED


@pytest.mark.parametrize(("old", "new"), [("ssa", "csa"), ("csa", "ssa"), ("", "ssa")])
async def test_a_release_that_is_applied_on_the_servers_side_is_left_to_helm(old: str, new: str) -> None:
    cluster = FakeCluster().add(
        revision(1, "superseded", [settings("a")], apply_method=old),
        revision(2, "deployed", [settings("b")], apply_method=new),
        live(settings("b")),
    )
    await refused(cluster, "takes their fields from Helm")


async def test_the_expected_revision_has_to_be_the_newest() -> None:
    await refused(a_cluster(), "newest revision of shop is 3, but 2 is expected", expectRevision=2)
    assert (await act(a_cluster(), expectRevision=3)).acted


async def test_a_release_that_is_not_there_is_told() -> None:
    error = await refused(FakeCluster(), "there is no release shop")
    assert error.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("number", [3, 9])
async def test_only_an_earlier_revision_can_be_gone_back_to(number: int) -> None:
    await refused(a_cluster(), rf"no revision {number} before 3; there are: 1, 2", revision=number)


async def test_without_a_good_revision_before_there_is_nothing_to_go_back_to() -> None:
    cluster = FakeCluster().add(revision(1, "failed", []), revision(2, "deployed", []))
    error = await refused(cluster, "no revision before 2 that was deployed")
    assert error.reason is Reason.NOTHING_TO_ROLL_BACK_TO


async def test_revisions_that_are_alike_need_nothing() -> None:
    cluster = FakeCluster().add(
        revision(1, "superseded", [settings()]), revision(2, "deployed", [settings()])
    )
    step = await begun(cluster)
    done = await rollback.perform(cluster, step, wanted())
    assert (done.acted, cluster.writes) == (False, [])


def releases(old: list[Manifest], new: list[Manifest]) -> FakeCluster:
    """A release whose newest revision holds these, and the one before those."""
    cluster = FakeCluster().add(revision(1, "superseded", old), revision(2, "deployed", new))
    cluster.add(*(live(one) for one in new))
    return cluster


ROLE: Manifest = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "r"},
    "rules": [],
}
INGRESS: Manifest = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "i"},
    "spec": {},
}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([settings()], [settings(), INGRESS], "would delete Ingress i"),
        ([settings(), INGRESS], [settings()], "would create Ingress i"),
        ([{**INGRESS, "spec": {"a": 1}}], [INGRESS], "its kind is not among with.kinds"),
        ([{**ROLE, "rules": [{"verbs": ["*"]}]}], [ROLE], "is not touched by a step"),
        (
            [{**settings("a"), "metadata": {"name": "s", "namespace": "other"}}],
            [{**settings("b"), "metadata": {"name": "s", "namespace": "other"}}],
            "is in namespace other",
        ),
    ],
)
async def test_what_it_can_not_do_honestly_is_refused(
    old: list[Manifest], new: list[Manifest], told: str
) -> None:
    await refused(releases(old, new), told)


async def test_objects_of_other_kinds_that_do_not_differ_are_no_hindrance() -> None:
    cluster = releases([settings("a"), ROLE, INGRESS], [settings("b"), ROLE, INGRESS])
    step = await begun(cluster)
    assert (await rollback.perform(cluster, step, wanted())).acted


async def test_a_pod_is_not_given_more_rights() -> None:
    root = app("shop/api:1", securityContext={"privileged": True})
    await refused(releases([root], [app("shop/api:1")]), "privileged")


async def test_what_the_server_refuses_or_the_account_may_not_is_found_before_anything_is_changed() -> None:
    await refused(a_cluster(troubles={"dry-run": [None, Invalid("no", status=422)]}), "no")
    cluster = a_cluster(forbidden={"dry-run ConfigMap"})
    step = await begun(cluster)
    with pytest.raises(Forbidden):
        await rollback.perform(cluster, step, wanted())
    assert cluster.writes == []


async def test_hooks_are_told_and_not_run() -> None:
    hook = {"name": "migrate", "events": ["post-rollback"]}
    other = {"name": "test", "events": ["test"]}
    cluster = FakeCluster().add(
        revision(1, "superseded", [settings("a")], hooks=[hook, other]),
        revision(2, "deployed", [settings("b")]),
        live(settings("b")),
    )
    step = await begun(cluster)
    done = await rollback.perform(cluster, step, wanted())
    assert done.message.endswith("hooks were not run: migrate")


async def test_values_that_may_be_secret_are_told_nowhere() -> None:
    one = {**settings(), "data": {"dbPassword": "hunter1"}}
    two = {**settings(), "data": {"dbPassword": "hunter2"}}
    cluster = releases([one], [two])
    step = await begun(cluster)
    done = await rollback.perform(cluster, step, wanted())
    notes = cluster.find("ConfigMap", "settings")["metadata"]["annotations"]
    assert "hunter" not in json.dumps([done.message, *done.changed, dict(done.outputs), notes])
    await rollback.undo(cluster, step, wanted())
    assert cluster.find("ConfigMap", "settings")["data"] == {"dbPassword": "hunter2"}


@pytest.mark.parametrize(
    "text",
    [
        "not base64!",
        base64.b64encode(b"plain").decode(),
        base64.b64encode(base64.b64encode(gzip.compress(b"[]"))).decode(),
        base64.b64encode(base64.b64encode(gzip.compress(b"{}"))).decode(),
        base64.b64encode(
            base64.b64encode(gzip.compress(b'"' + b"x" * (release.MAX_BYTES + 9) + b'"'))
        ).decode(),
    ],
    ids=["no base64", "no gzip", "a list", "an empty map", "too large"],
)
async def test_a_secret_that_holds_no_revision_is_refused(text: str) -> None:
    cluster = a_cluster()
    cluster.edit("Secret", "sh.helm.release.v1.shop.v3", {"data": {"release": text}})
    await refused(cluster, "does not hold a revision")


async def test_the_revision_of_another_release_under_this_name_is_refused() -> None:
    cluster = a_cluster()
    theirs = revision(3, "deployed", [settings()], name="other")["data"]["release"]
    cluster.edit("Secret", "sh.helm.release.v1.shop.v3", {"data": {"release": theirs}})
    await refused(cluster, "does not hold a revision")


def test_what_is_written_can_be_read_again() -> None:
    secret = revision(7, "deployed", [settings()])
    seen = {**secret, "metadata": {**secret["metadata"], "namespace": "shop"}}
    seen["data"] = {"release": release.written(unpacked(secret))}
    assert release.read(seen).number == 7
    assert unpacked(seen) == unpacked(secret)


def test_kinds_that_rule_others_can_not_be_allowed() -> None:
    kinds = [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}]
    with pytest.raises(ValidationError, match="is not touched by a step"):
        wanted(kinds=kinds)


def test_rights_are_those_on_records_and_on_the_kinds_that_may_be_changed() -> None:
    kinds = [{"apiVersion": "apps/v1", "kind": "Deployment"}]
    assert rollback.rights(None, wanted(kinds=kinds)) == (
        *(Right(verb, "", "secrets", ()) for verb in ("list", "get", "create", "patch")),
        *(Right(verb, "apps", "deployments", ()) for verb in ("get", "patch")),
        Right("list", "autoscaling", "horizontalpodautoscalers", ()),
    )


def test_dates_and_times_in_a_manifest_are_texts_as_they_are_to_helm() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {since: 2026-01-31, until: 22:00}\n"
    (one,) = release.objects(release.Revision({}, {"manifest": text}), "shop").values()
    assert one["data"] == {"since": "2026-01-31", "until": "22:00"}


def test_a_manifest_nested_too_deeply_is_told() -> None:
    text = "a: " + "[" * 5_000 + "]" * 5_000
    with pytest.raises(StepError, match="can't be read"):
        release.objects(
            release.Revision({"metadata": {"labels": {"version": "3"}}}, {"manifest": text}), "shop"
        )
