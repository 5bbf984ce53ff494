"""A second API server on the same etcd, over a link that can be frozen: it then shows what it last saw."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from localcluster import api, local
from localcluster.paths import ClusterPaths
from localcluster.state import Component, State

SERVER = "kube-apiserver-2"
LINK = "etcd-link"
_RELAY = Path(__file__).resolve().parent / "link.py"


def start(state: State) -> str:
    """Start both where they do not run; return the second server's URL when it is ready.

    Raises:
        ClusterError: it was not ready in time; says why.
    """
    if SERVER not in state.components:
        first = state.components["kube-apiserver"].argv
        etcd = urlsplit(_value(first, "--etcd-servers")).port or 2379
        port, link = (6444, 2479) if state.holder else (_free(), _free())
        state.components[LINK] = Component([sys.executable, "-I", str(_RELAY), str(link), str(etcd)])
        changed = {
            "--secure-port": str(port),
            "--etcd-servers": f"http://127.0.0.1:{link}",
            # The first one says where the kubernetes Service leads.
            "--endpoint-reconciler-type": "none",
        }
        kept = [flag for flag in first if flag.split("=", 1)[0] not in changed]
        state.components[SERVER] = Component([*kept, *(f"{flag}={value}" for flag, value in changed.items())])
    for name in (LINK, SERVER):
        local.start_component(state, name)
    url = urlsplit(state.server)
    server = f"https://{url.hostname}:{_value(state.components[SERVER].argv, '--secure-port')}"
    local.wait(state, SERVER, api.Api(server, ClusterPaths.of(state.name).pki).ready, needs=(LINK, SERVER))
    return server


def _value(argv: list[str], flag: str) -> str:
    return next(text.split("=", 1)[1] for text in argv if text.startswith(f"{flag}="))


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
