"""Watches that fall silent while requests are answered: it is seen, told by liveness, and over once they speak."""

from __future__ import annotations

from e2e.muting import muting
from e2e.websteps import note
from e2e.world import Place, until
from localrun.process import Operator


def test_liveness_fails_while_watches_bring_nothing_and_recovers_when_they_do(place: Place) -> None:
    world = place.world
    usual = world.operator
    usual.stop()
    env = {
        "KUBERNAUT_POLICY_CHECK": "1s",
        "KUBERNAUT_DEAF_AFTER": "3s",
        "KUBERNAUT_RELIST": "1s",
        "KUBERNAUT_LEASE_DURATION": "3s",
        "KUBERNAUT_LEASE_RENEW": "500ms",
    }
    with muting(world.rights, world.folder / "muting") as (mute, kubeconfig):
        operator = Operator(kubeconfig, world.folder / "operator-deaf", world.postgres.dsn, env)
        try:
            operator.start()
            operator.wait_ready()
            place.workflow(note("one"))
            assert operator.get("/healthz")[0] == 200
            assert operator.metric("kubernaut_watch_canary_age_seconds") < 2

            # All watches: the own lease does not come back.
            mute.muted = ("leases", "workflowexecutions", "workflows", "replicasets")
            told = until("liveness fails", lambda: _failing(operator))
            assert "no watch has brought what this replica renews for" in told
            assert operator.metric("kubernaut_watch_canary_age_seconds") > 3
            assert operator.get("/readyz")[0] == 200
            # Runs go on all the same: they are listed.
            assert place.run("deaf").end()["phase"] == "Succeeded"
            mute.muted = ()
            until("liveness recovers", lambda: operator.get("/healthz")[0] == 200)
            assert operator.metric("kubernaut_watch_canary_age_seconds") < 2

            # One kind alone: a list finds what its watch never brings.
            place.workflow(note("two"), name="again")
            until("the watch brings Workflows again", lambda: _heard(operator))
            before = operator.metric("kubernaut_watch_missed_events_total", kind="workflows")
            mute.muted = ("workflows",)
            place.workflow(note("three"), name="unheard")
            told = until("liveness names the kind", lambda: _failing(operator))
            assert "the watch on workflows has brought nothing" in told
            assert operator.metric("kubernaut_watch_missed_events_total", kind="workflows") > before
            assert operator.metric("kubernaut_watch_canary_age_seconds") < 2
            mute.muted = ()
            place.workflow(note("four"), name="heard")
            until("liveness recovers", lambda: operator.get("/healthz")[0] == 200)
        finally:
            operator.stop()
            usual.start()
            usual.wait_ready()


def _failing(operator: Operator) -> str:
    """Return what liveness says while it fails; nothing while it does not."""
    status, text = operator.get("/healthz")
    return text if status == 503 else ""


def _heard(operator: Operator) -> bool:
    return operator.metric("kubernaut_watch_silence_seconds", kind="workflows") < 5
