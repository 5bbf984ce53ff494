"""What the API server tells of our objects, as it happens: tests await states instead of asking again and again."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from localcluster import Cluster

Manifest = dict[str, Any]
Key = tuple[str, str]


class Feed:
    """Every version of every object of one kind that a watch brought, in order."""

    def __init__(self, cluster: Cluster, path: str) -> None:
        self._command = [
            str(cluster.kubectl),
            f"--kubeconfig={cluster.kubeconfig}",
            "get",
            "--raw",
            f"{path}?watch=true&timeoutSeconds=3000",
        ]
        self._env = cluster.client_environment()
        self._changed = threading.Condition()
        self._versions: dict[Key, list[Manifest]] = defaultdict(list)
        self._arrived: dict[Key, float] = {}
        self._gone: set[str] = set()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        self._thread.join(10)

    def versions(self, key: Key) -> list[Manifest]:
        """Return what was seen of an object so far, oldest first."""
        with self._changed:
            return list(self._versions[key])

    def newest(self, namespace: str) -> list[Manifest]:
        """Return the newest version of each object of a namespace that nobody has deleted."""
        with self._changed:
            newest = [found[-1] for key, found in self._versions.items() if key[0] == namespace and found]
            return [
                thing
                for thing in newest
                if thing["metadata"]["uid"] not in self._gone and "deletionTimestamp" not in thing["metadata"]
            ]

    def arrived(self, key: Key) -> float:
        """Return the monotonic time at which the newest version arrived."""
        with self._changed:
            return self._arrived[key]

    def wait(
        self, key: Key, holds: Callable[[Manifest], bool], what: str, seconds: float = 30.0, since: int = 0
    ) -> Manifest:
        """Return the first version that ``holds``, in those from number ``since`` on.

        Raises:
            AssertionError: there is none in time; shows the newest.
        """
        looked = since

        def found() -> Manifest | None:
            nonlocal looked
            fresh = self._versions[key][looked:]
            looked += len(fresh)
            return next((version for version in fresh if holds(version)), None)

        with self._changed:
            version = self._changed.wait_for(found, seconds)
            if version is None:
                newest = json.dumps((self._versions[key] or [{}])[-1].get("status"), indent=1)
                raise AssertionError(f"{key}: not within {seconds} s: {what}; newest status: {newest}")
            return version

    def wait_gone(self, uid: str, seconds: float = 30.0) -> None:
        """Wait until the object with this UID was deleted for good."""
        with self._changed:
            gone = self._changed.wait_for(lambda: uid in self._gone, seconds)
        assert gone, f"the object {uid} is still there after {seconds} s"

    def is_gone(self, uid: str) -> bool:
        """Whether the object with this UID was seen deleted."""
        with self._changed:
            return uid in self._gone

    def _read(self) -> None:
        while not self._closed:
            with subprocess.Popen(
                self._command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as process:
                self._process = process
                assert process.stdout is not None
                for line in process.stdout:
                    self._take(json.loads(line))
            if not self._closed:
                time.sleep(0.2)  # the API server is away: no event tells when it is back

    def _take(self, event: Manifest) -> None:
        thing = event["object"]
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return
        meta = thing["metadata"]
        key = (meta["namespace"], meta["name"])
        with self._changed:
            self._versions[key].append(thing)
            self._arrived[key] = time.monotonic()
            if event["type"] == "DELETED":
                self._gone.add(meta["uid"])
            self._changed.notify_all()
