"""A volume without a backup. The snapshot controller and the driver are played by the test (see ``snapshots``)."""

from __future__ import annotations

from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario, Where, deleted, made_anew
from apiserver.scenarios.storage import bound
from apiserver.snapshots import SNAPSHOTS, Driver, serve_snapshots
from kubernaut.core.ports import Manifest


def backed_up(place: Place) -> Manifest:
    """A claim that is bound, and a snapshot of it that is ready."""
    serve_snapshots(place)
    claim = bound(place)
    driver = Driver(place)
    driver.start()
    place.at_the_end(driver.stop)
    snapshot(place)
    return claim


def snapshot(place: Place) -> None:
    spec: dict[str, Any] = {"source": {"persistentVolumeClaimName": "data"}}
    thing = {
        "apiVersion": SNAPSHOTS,
        "kind": "VolumeSnapshot",
        "metadata": {"name": "nightly"},
        "spec": spec,
    }
    place.create(SNAPSHOTS, "volumesnapshots", thing)
    await_true(lambda: not without_backup(place), "the snapshot does not become ready")


def lost(place: Place) -> None:
    assert place.admin.request("DELETE", place.path(SNAPSHOTS, "volumesnapshots", "nightly")).ok


def without_backup(place: Place) -> bool:
    return not any(
        (one.get("status") or {}).get("readyToUse") for one in place.items(SNAPSHOTS, "volumesnapshots")
    )


CLAIM: Final = Where("v1", "persistentvolumeclaims", "data")

SCENARIOS: Final = (
    Scenario(
        "backup_data",
        {"name": "data"},
        healthy=backed_up,
        fault=lost,
        symptom=without_backup,
        changes=(CLAIM,),
        undoes=False,
        lost={"the claim": deleted(CLAIM), "the claim that was meant": made_anew(CLAIM)},
        # The engine waits with these.
        later=(
            "get volumesnapshots.snapshot.storage.k8s.io",
            "list volumesnapshots.snapshot.storage.k8s.io",
            "watch volumesnapshots.snapshot.storage.k8s.io",
            "delete volumesnapshots.snapshot.storage.k8s.io",
        ),
    ),
)
