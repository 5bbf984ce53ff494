"""The verdict by the alert's own state, with a real Alertmanager between the alert and the operator."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from e2e.alerting import TOKEN, taking_alerts
from e2e.test_alerts import NAMED, TARGET, acted, ended, runs
from e2e.websteps import note
from e2e.world import Place, World, until
from kubernaut.core.ports import Manifest
from localrun.process import free_port
from monitoring import LocalAlertmanager


class Told:
    """What Prometheus would tell Alertmanager."""

    def __init__(self, alertmanager: LocalAlertmanager) -> None:
        self.alertmanager = alertmanager

    def fires(self, place: Place) -> None:
        """Tell that the Deployment of a place is broken, and for longer than any test takes."""
        self._post("alerts", [self._alert(place, timedelta(hours=1))])

    def is_over(self, place: Place) -> None:
        """Tell that it is not any more."""
        self._post("alerts", [self._alert(place, timedelta(seconds=-1))])

    def silence(self, place: Place) -> None:
        """Silence it, as somebody does who does not want to hear of it."""
        now = datetime.now(UTC)
        matcher = {"name": "namespace", "value": place.namespace, "isRegex": False, "isEqual": True}
        times = {"startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
        self._post("silences", {"matchers": [matcher], **times, "createdBy": "eve", "comment": "a test"})

    def _alert(self, place: Place, until: timedelta) -> Manifest:
        now = datetime.now(UTC)
        labels = {"alertname": "Broken", "namespace": place.namespace, "deployment": "web"}
        times = {"startsAt": (now - timedelta(minutes=1)).isoformat(), "endsAt": (now + until).isoformat()}
        return {"labels": labels, "annotations": {"summary": "broken in a test"}, **times}

    def _post(self, path: str, body: object) -> None:
        headers = {"Content-Type": "application/json"}
        url = f"{self.alertmanager.url}/api/v2/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200, answer.status


@pytest.fixture(scope="module")
def told(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A real Alertmanager that tells the operator, and is asked by it."""
    port = free_port()
    made = LocalAlertmanager(
        tmp_path_factory.mktemp("alertmanager"), f"http://127.0.0.1:{port}/alerts", TOKEN
    )
    made.run()
    try:
        more = {"KUBERNAUT_ALERTS_PORT": str(port), "KUBERNAUT_ALERTMANAGER_URL": made.url}
        with taking_alerts(world, **more):
            yield Told(made)
    finally:
        made.stop()


def repaired_by(alerts: Callable[[Place], None], place: Place, timeout: str) -> None:
    """Have an alert start a run whose expectations hold at once, and wait until it has acted."""
    trigger = {"alert": {"matchLabels": {"alertname": "Broken"}}, "parameters": NAMED}
    parameters = [{"name": "deployment", "required": True}]
    verify = {"expect": ["has(target.metadata.name)"], "timeout": timeout}
    place.workflow(note("only"), parameters=parameters, target=TARGET, triggers=[trigger], verify=verify)
    alerts(place)
    until("the run has acted", lambda: acted(place))
    until("it is verified", lambda: (runs(place)[0].get("status") or {}).get("phase") == "Verifying")


def test_only_a_resolved_alert_makes_a_run_remediated_and_one_that_fires_or_is_silenced_never_does(
    world: World, told: Told
) -> None:
    firing, silenced, mended = world.place(), world.place(), world.place()
    for place, timeout in ((firing, "6s"), (silenced, "6s"), (mended, "1m")):
        repaired_by(told.fires, place, timeout)
    told.silence(silenced)
    assert runs(mended)[0]["status"]["phase"] == "Verifying"
    told.is_over(mended)
    (run,) = ended(mended)
    assert (run["status"]["verdict"], run["status"]["phase"]) == ("Remediated", "Succeeded")
    for place in (firing, silenced):
        (run,) = ended(place)
        assert (run["status"]["verdict"], run["status"]["reason"]) == ("NotFixed", "AlertStillFiring"), run
        versions = world.runs.versions((place.namespace, run["metadata"]["name"]))
        assert {one.get("status", {}).get("verdict") for one in versions} == {None, "NotFixed"}


def test_where_alertmanager_has_forgotten_or_is_gone_nobody_knows_whether_it_helped(
    world: World, told: Told
) -> None:
    place = world.place()
    repaired_by(told.fires, place, "8s")
    told.alertmanager.stop()
    # It comes back without the alert, which fires on.
    told.alertmanager.run()
    (run,) = ended(place)
    assert (run["status"]["verdict"], run["status"]["reason"]) == ("Inconclusive", "AlertUnknown"), run
    assert "it may not have been told of all that fires" in run["status"]["message"]
    place = world.place()
    repaired_by(told.fires, place, "6s")
    told.alertmanager.stop()
    (run,) = ended(place)
    assert (run["status"]["verdict"], run["status"]["reason"]) == ("Inconclusive", "AlertUnknown"), run
