"""Builds Kubernetes from its Go modules into the user's cache, once per set of inputs.

A build is a directory of parts, each renamed into place when it is complete, and a ``bin`` of links to them:

- ``kube``: the multi-call binary (etcd, control plane, kubelet, kube-proxy, kubectl, kwok), kwok's stages
- ``node``: containerd, its shim, ctr, the CNI plugins
- ``runc``: runc with seccomp, else Debian's
- ``system``: nft and busybox out of Debian packages, and the images made of busybox
- ``helm``: only when asked for

metrics-server is a build of its own, made when a cluster is asked for metrics.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from localcluster import images, packages, paths, versions
from localcluster.errors import ClusterError
from localcluster.process import run
from localcluster.progress import Progress, Step
from localcluster.toolchain import compiler_memory, find_go, go_environment

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "kwok",
)
CONTROL_PARTS = ("kube",)
NODE_PARTS = ("node", "runc", "system")
METRICS_PARTS = ("metrics",)
_LANES = (("kube", "node", "helm", "metrics"), ("system", "runc"))

_CONTAINERD = "github.com/containerd/containerd/v2"
_CNI = "github.com/containernetworking/plugins/plugins"
_CNI_PLUGINS = ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap")
_TAGS = "no_btrfs,no_devmapper,no_zfs,no_tracing"
_KWOK_STAGES = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-complete",
    "pod/fast/pod-delete",
    "pod/chaos/pod-container-running-failed",
)


def _memory() -> dict[str, str]:
    meminfo = Path("/proc/meminfo")
    return compiler_memory(meminfo.read_text(), os.cpu_count() or 1) if meminfo.is_file() else {}


@dataclass(frozen=True)
class Build:
    """A finished or unfinished build in the cache."""

    root: Path

    @classmethod
    def current(cls) -> Build:
        key = versions.build_key(versions.build_inputs())
        return cls(paths.cache_root() / "kubernetes" / key)

    @classmethod
    def of_metrics(cls) -> Build:
        return cls(paths.cache_root() / "kubernetes" / versions.metrics_key())

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def part(self, name: str) -> Path:
        return self.root / "parts" / name

    def has(self, *parts: str) -> bool:
        return all(self.part(name).is_dir() for name in parts)

    def missing_for_node(self) -> str | None:
        """Why this build can't run a real node, or None if it can."""
        for part in NODE_PARTS:
            note = self.root / f"{part}.unavailable"
            if not self.has(part):
                return note.read_text().strip() if note.is_file() else f"{part} is not built"
        return None


class Builder:
    """Makes the parts that are missing; safe to call from several processes at once."""

    def __init__(self, build: Build, progress: Progress) -> None:
        self.build = build
        self.progress = progress
        self._go = ""

    def make(self, parts: Sequence[str]) -> None:
        """Build ``parts`` where missing. Parts that only a real node needs may end up unavailable, with a note.

        Raises:
            ClusterError: the control plane (or helm, if asked for) could not be built.
        """
        if self.build.has(*parts):
            return
        self.build.root.mkdir(parents=True, exist_ok=True)
        busy = f"waiting for another build of {self.build.root.name}"
        with paths.locked(self.build.root / ".lock", waiting=lambda: self.progress.step(busy)):
            wanted = [name for name in parts if not self.build.has(name)]
            if wanted:
                self._make_all(wanted)

    def _make_all(self, wanted: Sequence[str]) -> None:
        self.progress.say(
            f"building {', '.join(wanted)} for Kubernetes {versions.KUBERNETES} into {self.build.root}"
        )
        if set(wanted) != {"system"}:
            self._go = find_go(self.progress)
        # runc beside the big build: its downloads and single-threaded steps fill the gaps
        lanes = [[name for name in lane if name in wanted] for lane in _LANES]
        with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
            for lane in [pool.submit(self._lane, names) for names in lanes]:
                lane.result()

    def _lane(self, names: Sequence[str]) -> None:
        makers: dict[str, Callable[[Path], None]] = {
            "kube": self._kube,
            "node": self._node,
            "runc": self._runc,
            "system": self._system,
            "helm": self._helm,
            "metrics": self._metrics,
        }
        for name in names:
            if name in NODE_PARTS:
                self._guarded(name, makers[name])
            else:
                self._part(name, makers[name])

    def _guarded(self, name: str, maker: Callable[[Path], None]) -> None:
        note = self.build.root / f"{name}.unavailable"
        try:
            self._part(name, maker)
            note.unlink(missing_ok=True)
        except (ClusterError, OSError) as error:
            note.write_text(f"{name} could not be built: {error}\n")
            self.progress.say(f"  no real node: {name} could not be built: {error}")

    def _part(self, name: str, maker: Callable[[Path], None]) -> None:
        final = self.build.part(name)
        temporary = final.with_name(f".{name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            maker(temporary)
            self.build.bin.mkdir(exist_ok=True)
            temporary.replace(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for program in sorted((final / "bin").iterdir()):
            link = self.build.bin / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(program, self.build.bin))

    def _kube(self, out: Path) -> None:
        version = "k8s.io/component-base/version"
        major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
        stamps = {
            "gitVersion": versions.KUBERNETES,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
        }
        flags = " ".join(f"-X {version}.{name}={value}" for name, value in stamps.items())
        title = "Kubernetes (control plane, kubelet, etcd, kwok)"
        self._compile(title, versions.KUBE_MODULE, ["."], out / "bin", flags)
        binary = out / "bin" / "kube"
        for component in COMPONENTS:
            (out / "bin" / component).symlink_to(binary.name)
        command = [self._go, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]
        kwok = Path(run(command, cwd=versions.KUBE_MODULE, env=go_environment()).strip())
        stages = [(kwok / "kustomize" / "stage" / f"{name}.yaml").read_text() for name in _KWOK_STAGES]
        (out / "kwok-stages.yaml").write_text("\n---\n".join(stages))

    def _node(self, out: Path) -> None:
        programs = [f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")]
        flags = f"-X {_CONTAINERD}/version.Version={versions.CONTAINERD.removeprefix('v')}"
        self._compile("containerd", versions.KUBE_MODULE, programs, out / "bin", flags)
        plugins = [f"{_CNI}/{name}" for name in _CNI_PLUGINS]
        self._compile("CNI plugins", versions.KUBE_MODULE, plugins, out / "cni", "")

    def _helm(self, out: Path) -> None:
        flags = f"-X helm.sh/helm/v4/internal/version.version={versions.HELM}"
        self._compile("helm", versions.KUBE_MODULE, ["helm.sh/helm/v4/cmd/helm"], out / "bin", flags)

    def _metrics(self, out: Path) -> None:
        flags = f"-X k8s.io/client-go/pkg/version.gitVersion={versions.METRICS_SERVER}"
        program = ["sigs.k8s.io/metrics-server/cmd/metrics-server"]
        self._compile("metrics-server", versions.METRICS_MODULE, program, out / "bin", flags)

    def _runc(self, out: Path) -> None:
        (out / "bin").mkdir()
        try:
            self._runc_from_source(out)
        except ClusterError as error:
            self.progress.say(f"  runc: falling back to Debian's package ({error})")
            with self.progress.step("runc from Debian") as step:
                root = packages.unpack(packages.RUNC_PACKAGES, out / "debian", step)
            shutil.copy2(root / "usr" / "sbin" / "runc", out / "bin" / "runc")

    def _runc_from_source(self, out: Path) -> None:
        if not shutil.which("gcc"):
            raise ClusterError("no gcc in PATH to build runc with seccomp")
        with self.progress.step("libseccomp headers") as step:
            root = packages.unpack(packages.SECCOMP_PACKAGES, out / "seccomp", step)
        library = next(root.glob("usr/lib/*/libseccomp.a"), None)
        if library is None:
            raise ClusterError("libseccomp-dev has no libseccomp.a")
        # The flags go where Go's cache sees them: what pkg-config says is not part of its keys, and an object that
        # was cached with the path of an earlier build fails to link. So pkg-config is made to say nothing.
        env = {
            "CGO_ENABLED": "1",
            "PKG_CONFIG": "true",
            "CGO_CFLAGS": f"-O2 -I{root}/usr/include",
            "CGO_LDFLAGS": f"-O2 {library}",
        }
        flags = f"-X main.version={versions.RUNC.removeprefix('v')}"
        package = ["github.com/opencontainers/runc"]
        self._compile("runc", versions.RUNC_MODULE, package, out / "bin", flags, tags="seccomp", env=env)
        shutil.rmtree(out / "seccomp")

    def _system(self, out: Path) -> None:
        (out / "bin").mkdir()
        with self.progress.step("nft and busybox from Debian packages") as step:
            root = packages.unpack(packages.NODE_PACKAGES, out, step)
        library, private = out / "lib", out / "libexec"
        library.mkdir()
        private.mkdir()
        for pattern in ("libnftables.so*", "libnftnl.so*", "libjansson.so*", "libxtables.so*"):
            for path in root.glob(f"usr/lib/*/{pattern}"):
                shutil.copy2(path, library / path.name, follow_symlinks=False)
        shutil.copy2(root / "usr" / "sbin" / "nft", private / "nft")
        nft = out / "bin" / "nft"
        here = 'd=$(dirname "$(readlink -f "$0")")/..'
        nft.write_text(f'#!/bin/sh\n{here}\nLD_LIBRARY_PATH="$d/lib" exec "$d/libexec/nft" "$@"\n')
        nft.chmod(0o755)
        busybox = next(
            path for path in (root / "bin" / "busybox", root / "usr/bin/busybox") if path.is_file()
        )
        shutil.copy2(busybox, private / "busybox")
        (out / "images").mkdir()
        for image in images.busybox_images(busybox, run([str(busybox), "--list"]).split()):
            images.write_archive(out / "images" / f"{image.name.split('/')[1].split(':')[0]}.tar", image)
        shutil.rmtree(root)
        shutil.rmtree(out / "deb")

    def _compile(
        self,
        title: str,
        module: Path,
        package_paths: Sequence[str],
        out: Path,
        link_flags: str,
        *,
        tags: str = _TAGS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        out.mkdir(exist_ok=True)
        environment = {**go_environment(), **_memory(), "CGO_ENABLED": "0", **(env or {})}
        with self.progress.step(f"{title}: downloading modules") as step:
            listing = [self._go, "list", "-deps", f"-tags={tags}", *package_paths]
            total = len(self._watched(listing, module, environment, step))
        command = [self._go, "build", "-v", "-trimpath", "-buildvcs=false", f"-tags={tags}"]
        command += ["-gcflags=all=-dwarf=false", f"-ldflags=-s -w {link_flags}".rstrip()]
        command += ["-o", f"{out}/", *package_paths]
        with self.progress.step(f"{title}: compiling") as step:
            self._watched(command, module, environment, step, total)

    def _watched(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], step: Step, total: int = 0
    ) -> list[str]:
        """Run a go command; its stderr feeds the heartbeat. Returns stdout's lines."""
        with subprocess.Popen(
            command, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stderr
            with ThreadPoolExecutor(max_workers=1) as reader:
                output = reader.submit(process.stdout.read)
                said: list[str] = []
                for count, line in enumerate(process.stderr, 1):
                    said.append(line.rstrip())
                    progress = f"{count} of at most {total} packages, " if total else ""
                    step.note(progress + said[-1].removeprefix("go: "))
                lines = output.result().splitlines()
        if process.returncode != 0:
            errors = [line for line in said if not line.startswith("go: downloading")][-15:]
            raise ClusterError(f"`{' '.join(command[:3])} ...` in {cwd} failed:\n" + "\n".join(errors))
        return lines
