"""The Grafana dashboards of the chart, generated: charts/kubernaut/files/dashboards/*.json."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dashboards import effectiveness, operations
from dashboards.board import Board

FOLDER = "charts/kubernaut/files/dashboards"
BOARDS: tuple[Board, ...] = (operations.BOARD, effectiveness.BOARD)


def generators() -> dict[str, Callable[[], str]]:
    """Return what makes each file, by its path from the root of the repository."""
    return {f"{FOLDER}/{board.name}.json": partial(Board.text, board) for board in BOARDS}
