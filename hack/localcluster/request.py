"""What a caller asks of ``up``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from localcluster.audit import Level

NodeChoice = Literal["auto", "real", "kwok"]
NODE_CHOICES: tuple[str, ...] = get_args(NodeChoice)


@dataclass(frozen=True)
class Request:
    """``kwok_nodes``: simulated nodes, None for one where there is no real node and else none."""

    name: str
    nodes: NodeChoice = "auto"
    kubeconfig: Path | None = None
    audit: Level = "full"
    fsync: bool = False
    kwok_nodes: int | None = None
