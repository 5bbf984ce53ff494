"""Process 1 of a real node's own pid and mount namespaces.

Prepares mounts, starts containerd, kubelet and kube-proxy, starts them again when they end, reaps orphans.
Runs as a script: ``nodeinit.py CONFIG``.

It sees a ``/run``, ``/var/log`` and ``/var/lib`` of its own, so that nothing of the node is left on the machine, and
answers of its own for a few sysctls: the kubelet insists on values that would change the whole machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: what the kubelet wants to see, see kubelet's setupKernelTunables
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_OWN = ("/run", "/var/log", "/var/lib")


def mount(*arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
    subprocess.run(["mount", *arguments], check=True, pass_fds=pass_fds)


def own_directories(keep: list[str]) -> None:
    """Cover the node's directories with tmpfs; what must stay visible below them is bound back by descriptor."""
    for base in _OWN:
        real = os.path.realpath(base)
        inside = [path for path in keep if os.path.realpath(path).startswith(f"{real}/")]
        descriptors = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in inside]
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", real)
        for path, descriptor in zip(inside, descriptors, strict=True):
            os.makedirs(os.path.realpath(path), exist_ok=True)
            # not canonicalized: that would give the path that has just been covered
            source = f"/proc/self/fd/{descriptor}"
            mount("--no-canonicalize", "--bind", source, os.path.realpath(path), pass_fds=(descriptor,))
            os.close(descriptor)


def own_sysctls() -> None:
    folder = Path("/run/kubernaut/sysctl")
    folder.mkdir(parents=True)
    for name, value in _SYSCTLS.items():
        target = Path("/proc/sys") / name
        if target.exists():
            answer = folder / name.replace("/", ".")
            answer.write_text(f"{value}\n")
            mount("--bind", str(answer), str(target))


def own_resolver() -> None:
    """Nothing out there can be reached from the cluster's network: let look-ups fail at once, not after a timeout."""
    target = os.path.realpath("/etc/resolv.conf")
    if os.path.exists(target):
        answer = Path("/run/kubernaut/resolv.conf")
        answer.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        mount("--bind", str(answer), target)


def start(name: str, argv: list[str], logs: str) -> int:
    log = os.open(f"{logs}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
            setsid=True,
        )
    finally:
        os.close(log)


def import_images(config: dict[str, Any]) -> None:
    for archive in sorted(Path(config["images"]).glob("*.tar")):
        subprocess.run([*config["import"], str(archive)], check=True)


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.02)


def supervise(running: dict[int, tuple[str, list[str]]], logs: str) -> None:
    """Reap whatever ends; what belongs to the node is started again after a second."""
    while True:
        pid, status = os.wait()
        if pid in running:
            name, argv = running.pop(pid)
            print(f"{name} ended with wait status {status}, starting it again", flush=True)
            time.sleep(1)
            running[start(name, argv, logs)] = (name, argv)


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    own_directories(config["keep"])
    own_sysctls()
    own_resolver()
    os.environ["PATH"] = f"{config['path']}:{os.environ['PATH']}"
    logs = config["logs"]
    running = {start("containerd", config["containerd"], logs): ("containerd", config["containerd"])}
    wait_for(config["socket"])
    import_images(config)
    wait_for(config["start"])
    for name, argv in config["services"].items():
        running[start(name, argv, logs)] = (name, argv)
    supervise(running, logs)


if __name__ == "__main__":
    main()
