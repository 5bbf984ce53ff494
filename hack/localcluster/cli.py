"""Command line. Progress goes to stderr; stdout carries only what was asked for."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from localcluster import audit
from localcluster.build import CONTROL_PARTS, NODE_PARTS, Build, Builder
from localcluster.cluster import DEFAULT_NAME, Cluster
from localcluster.errors import ClusterError
from localcluster.names import resolving
from localcluster.paths import ClusterPaths, cluster_names
from localcluster.process import alive
from localcluster.progress import Progress, human
from localcluster.request import NODE_CHOICES


def _build(options: argparse.Namespace) -> None:
    parts = CONTROL_PARTS if options.control_only else (*CONTROL_PARTS, *NODE_PARTS)
    build = Build.current()
    Builder(build, Progress()).make((*parts, "helm") if options.helm else parts)
    print(build.bin)


def _up(options: argparse.Namespace) -> None:
    started, progress = time.monotonic(), Progress()
    cluster = Cluster.up(
        options.name,
        nodes=options.nodes,
        kubeconfig=options.kubeconfig,
        audit=options.audit_level,
        fsync=options.fsync,
        kwok_nodes=options.kwok_nodes,
        progress=progress,
    )
    state = cluster.state
    where = state.server or state.kubeconfig
    progress.say(f"cluster {cluster.name} is up ({human(time.monotonic() - started)}): {where}")
    progress.say(f"  nodes: {state.nodes} ({state.why})")
    progress.say(f'  use it: eval "$(python3 hack/localcluster env --name {cluster.name})"')
    print(cluster.kubeconfig)


def _down(options: argparse.Namespace) -> None:
    progress = Progress()
    names = cluster_names() if options.all else [options.name]
    for name in names:
        try:
            cluster = Cluster.find(name)
        except ClusterError:
            progress.say(f"cluster {name} is not up")
            continue
        with progress.step(f"taking cluster {name} down"):
            cluster.down()


def _status(options: argparse.Namespace) -> None:
    names = [options.name] if options.name else cluster_names()
    if not names:
        print("no clusters")
    for name in names:
        cluster = Cluster.find(name)
        state = cluster.state
        print(
            f"{name}: {state.provider}, {state.server or state.kubeconfig}, nodes {state.nodes} ({state.why})"
        )
        print(f"  kubeconfig  {cluster.kubeconfig}")
        print(f"  audit log   {cluster.audit_log or '-'}")
        for part, component in state.components.items():
            pid = component.process.pid if component.process else "-"
            print(f"  {part:24} {'running' if component.running else 'STOPPED'}  pid {pid}")
        if state.holder and not alive(state.holder):
            print("  its network namespace is gone: `up` starts it anew")


def _logs(options: argparse.Namespace) -> None:
    folder = ClusterPaths.of(Cluster.find(options.name).name).logs
    known = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.log"))
    if options.component not in known:
        raise ClusterError(f"no log of {options.component!r}: there is {', '.join(known) or 'none'}")
    follow = ["-F"] if options.follow else []
    os.execvp("tail", ["tail", f"--lines={options.lines}", *follow, str(folder / f"{options.component}.log")])


def _env(options: argparse.Namespace) -> None:
    cluster = Cluster.find(options.name)
    for variable in ("KUBECONFIG", "NO_PROXY", "no_proxy"):
        if value := cluster.client_environment().get(variable):
            print(f"export {variable}={shlex.quote(value)}")
    if cluster.state.bin:
        print(f'export PATH={shlex.quote(cluster.state.bin)}:"$PATH"')


def _names(options: argparse.Namespace) -> None:
    ended = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: ended.set())
    with resolving(Cluster.find(options.name)):
        print(f"pods of cluster {options.name} find Services by their names until this ends", file=sys.stderr)
        ended.wait()


def _kubectl(options: argparse.Namespace) -> None:
    cluster = Cluster.find(options.name)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    os.execve(cluster.kubectl, ["kubectl", *arguments], cluster.client_environment())


def _on_cluster(act: Callable[[Cluster, argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    def command(options: argparse.Namespace) -> None:
        with Progress().step(f"{options.command} of cluster {options.name}"):
            act(Cluster.find(options.name), options)

    return command


#: what is done to a cluster that is up, without further options
_ADDITIONS: dict[str, tuple[Callable[[Cluster, argparse.Namespace], None], str]] = {
    "metrics": (lambda cluster, _: cluster.metrics(), "start metrics-server; it is built the first time"),
    "second-node": (
        lambda cluster, _: print(cluster.second_node()),
        "boot a second real node in a network namespace of its own; print its name",
    ),
    "node-down": (lambda cluster, _: cluster.node_down(), "pull the real node's plug"),
    "node-up": (lambda cluster, _: cluster.node_up(), "boot the real node again"),
}


def parser() -> argparse.ArgumentParser:
    """All commands; every one but ``build`` takes ``--name``."""
    main_parser = argparse.ArgumentParser(
        prog="localcluster", description="A real Kubernetes on this machine."
    )
    commands = main_parser.add_subparsers(dest="command", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *, named: bool = True
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        if named:
            one.add_argument("--name", default=DEFAULT_NAME, help=f"cluster (default {DEFAULT_NAME})")
        return one

    told = "build Kubernetes into the cache; print the folder of its programs"
    build = add("build", _build, told, named=False)
    build.add_argument(
        "--control-only", action="store_true", help="no containerd, CNI, runc: kwok nodes only"
    )
    build.add_argument("--helm", action="store_true", help="build helm too")
    up = add("up", _up, "bring a cluster up, or find it up; print its kubeconfig")
    up.add_argument(
        "--nodes", choices=NODE_CHOICES, default="auto", help="real containers, simulated, or what works"
    )
    up.add_argument("--kubeconfig", type=Path, help="use this cluster instead (also: KUBERNAUT_KUBECONFIG)")
    up.add_argument(
        "--audit-level", choices=audit.LEVELS, default="full", help="full: with bodies of all writes"
    )
    up.add_argument("--fsync", action="store_true", help="let etcd sync to disk, as in production")
    up.add_argument("--kwok-nodes", type=int, help="simulated nodes, also beside a real one")
    down = add("down", _down, "take a cluster down and leave nothing behind")
    down.add_argument("--all", action="store_true", help="every cluster of this user")
    status = add("status", _status, "what is running", named=False)
    status.add_argument("--name", help="only this cluster")
    logs = add("logs", _logs, "the end of a component's log")
    logs.add_argument("component")
    logs.add_argument("--lines", type=int, default=100)
    logs.add_argument("-f", "--follow", action="store_true")
    add("env", _env, "shell lines that set KUBECONFIG and PATH")
    kubectl = add("kubectl", _kubectl, "kubectl on the cluster: localcluster kubectl -- get pods")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    add("names", _names, "let pods find Services by their names; until it is stopped")
    load = add(
        "load-image", _on_cluster(lambda c, o: c.load_image(o.archive)), "give the real node an OCI archive"
    )
    load.add_argument("archive", type=Path)
    for name, (act, told) in _ADDITIONS.items():
        add(name, _on_cluster(act), told)
    for verb, text in (
        ("stop", "kill the API server, or freeze it with --pause"),
        ("start", "and bring it back"),
    ):
        outage = add(f"apiserver-{verb}", _on_cluster(_outage), text)
        if verb == "stop":
            outage.add_argument(
                "--pause", action="store_true", help="SIGSTOP: connections hang instead of failing"
            )
    return main_parser


def _outage(cluster: Cluster, options: argparse.Namespace) -> None:
    if options.command == "apiserver-stop":
        cluster.stop("kube-apiserver", pause=options.pause)
    else:
        cluster.start("kube-apiserver")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with one explanation on stderr."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # whoever read our output has seen enough; nothing may be flushed there at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
