"""kind, where a Docker engine answers.

Written after kind's documentation (configuration v1alpha4, kubeadmConfigPatches, extraMounts) and not yet run by its
authors, who had no Docker engine: the first user who has one may find a fault here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from localcluster import audit
from localcluster.build import Build, Builder
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths
from localcluster.process import run
from localcluster.progress import Progress
from localcluster.providers.given import find_kubectl
from localcluster.request import Request
from localcluster.state import State


def cluster_name(name: str) -> str:
    return f"kubernaut-{name}"


def configuration(paths: ClusterPaths, *, with_audit: bool, fsync: bool) -> dict[str, Any]:
    """kind's configuration: one control-plane node that also takes pods, with our audit policy mounted."""
    patch: dict[str, Any] = {"kind": "ClusterConfiguration"}
    mounts = []
    if with_audit:
        in_node = "/etc/kubernetes/kubernaut"
        mounts.append({"hostPath": str(paths.config), "containerPath": in_node, "readOnly": True})
        mounts.append({"hostPath": str(paths.audit_log.parent), "containerPath": "/var/log/kubernaut"})
        patch["apiServer"] = {
            "extraArgs": {
                "audit-policy-file": f"{in_node}/audit-policy.json",
                "audit-log-path": "/var/log/kubernaut/audit.log",
                "audit-log-maxsize": "8192",
            },
            "extraVolumes": [
                _volume("audit-policy", in_node, read_only=True),
                _volume("audit-log", "/var/log/kubernaut", read_only=False),
            ],
        }
    if not fsync:
        patch["etcd"] = {"local": {"extraArgs": {"unsafe-no-fsync": "true"}}}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [
            {"role": "control-plane", "extraMounts": mounts, "kubeadmConfigPatches": [json.dumps(patch)]}
        ],
    }


def _volume(name: str, path: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "name": name,
        "hostPath": path,
        "mountPath": path,
        "readOnly": read_only,
        "pathType": "DirectoryOrCreate",
    }


class Kind:
    name = "kind"

    def usable(self, request: Request) -> bool:
        if not (shutil.which("docker") and shutil.which("kind")):
            return False
        try:
            answer = subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0

    def up(self, request: Request, progress: Progress) -> State:
        if request.nodes == "kwok":
            raise ClusterError("kind has real nodes only: leave out --nodes kwok")
        paths = ClusterPaths.of(request.name)
        for folder in (paths.root, paths.config, paths.audit_log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with_audit = request.audit != "none"
        if with_audit:
            (paths.config / "audit-policy.json").write_text(json.dumps(audit.policy(request.audit), indent=1))
        state = State(
            request.name,
            "kind",
            str(paths.kubeconfig),
            find_kubectl(),
            nodes="real",
            why="kind runs real nodes in Docker containers",
            audit_log=str(paths.audit_log) if with_audit else None,
            node_name=f"{cluster_name(request.name)}-control-plane",
        )
        state.save(paths)
        command = ["kind", "create", "cluster", "--name", cluster_name(request.name), "--wait", "180s"]
        command += ["--kubeconfig", str(paths.kubeconfig), "--config", "-"]
        document = json.dumps(configuration(paths, with_audit=with_audit, fsync=request.fsync))
        try:
            with progress.step("kind create cluster (the first time, Docker pulls the node image)"):
                run(command, stdin=document)
            self._load_busybox(state, progress)
        except BaseException:
            self.down(state)
            raise
        return state

    def _load_busybox(self, state: State, progress: Progress) -> None:
        build = Build.current()
        Builder(build, progress).make(("system",))
        if not build.has("system"):
            raise ClusterError("the busybox image could not be made, and the demo's workloads run on it")
        for archive in sorted((build.part("system") / "images").glob("*.tar")):
            self.load_image(state, str(archive))

    def down(self, state: State) -> None:
        run(["kind", "delete", "cluster", "--name", cluster_name(state.name)])
        shutil.rmtree(ClusterPaths.of(state.name).root, ignore_errors=True)

    def load_image(self, state: State, archive: str) -> None:
        run(["kind", "load", "image-archive", archive, "--name", cluster_name(state.name)])
