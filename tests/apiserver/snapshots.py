"""VolumeSnapshots, served in the form of the snapshot controller's kinds.

There is no storage driver here that could take a snapshot: the kind is a CustomResourceDefinition of the same group,
version and status subresource; its status is written by another actor, as the controller and a CSI driver do.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from kubernaut.core.ports import Manifest

SNAPSHOTS: Final = "snapshot.storage.k8s.io/v1"
_DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_SOURCE: Final = {
    "type": "object",
    "properties": {"persistentVolumeClaimName": _TEXT, "volumeSnapshotContentName": _TEXT},
    "x-kubernetes-validations": [
        {
            "rule": "has(self.persistentVolumeClaimName) != has(self.volumeSnapshotContentName)",
            "message": "exactly one of persistentVolumeClaimName and volumeSnapshotContentName must be set",
        },
        {"rule": "self == oldSelf", "message": "source is immutable"},
    ],
}
_STATUS: Final = {
    "type": "object",
    "properties": {
        "boundVolumeSnapshotContentName": _TEXT,
        "creationTime": _TIME,
        "readyToUse": {"type": "boolean"},
        "restoreSize": _TEXT,
        "error": {"type": "object", "properties": {"message": _TEXT, "time": _TIME}},
    },
}
_SPEC: Final = {
    "type": "object",
    "required": ["source"],
    "properties": {"source": _SOURCE, "volumeSnapshotClassName": _TEXT},
}
_DEFINITION: Final[Manifest] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "volumesnapshots.snapshot.storage.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, stands in for the snapshot controller's"},
    },
    "spec": {
        "group": "snapshot.storage.k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "volumesnapshots", "singular": "volumesnapshot", "kind": "VolumeSnapshot"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {"spec": _SPEC, "status": _STATUS},
                    }
                },
            }
        ],
    },
}


def serve_snapshots(place: Place) -> None:
    """Have the API server serve VolumeSnapshots from now on."""
    answer = place.admin.request("POST", _DEFINITIONS, _DEFINITION)
    assert answer.ok or answer.status == 409, answer
    there = place.path(SNAPSHOTS, "volumesnapshots")
    await_true(lambda: place.admin.request("GET", there).ok, "VolumeSnapshots are not served")


class Driver:
    """Writes the status of a namespace's snapshots, until it is stopped: first an error, then that it is ready."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # A connection of its own, for that of the test is one conversation.
        self._admin = place.admin.acting_as("")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._admin.__exit__()

    def _serve(self) -> None:
        while not self._over.wait(0.05):
            answer = self._admin.request("GET", self._place.path(SNAPSHOTS, "volumesnapshots"))
            for snapshot in answer.body.get("items") or () if answer.ok else ():
                self._move(snapshot)

    def _move(self, snapshot: Manifest) -> None:
        status: dict[str, Any] = snapshot.get("status") or {}
        if status.get("readyToUse"):
            return
        meta = snapshot["metadata"]
        told: dict[str, Any] = {"readyToUse": False, "error": {"message": "the driver is busy"}}
        if status:
            told = {
                "readyToUse": True,
                "error": None,
                "boundVolumeSnapshotContentName": f"snapcontent-{meta['uid']}",
                "creationTime": meta["creationTimestamp"],
                "restoreSize": "1Gi",
            }
        path = self._place.path(SNAPSHOTS, "volumesnapshots", meta["name"]) + "/status"
        self._admin.request("PATCH", path, {"status": told}, content_type=MERGE_PATCH)
