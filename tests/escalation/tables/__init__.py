"""The attempts that the API server alone decides, by what they are after."""

from __future__ import annotations

from escalation.rows import Row
from escalation.tables import answers, gitops, reach, rights, runs, system, workflows

ROWS: list[Row] = [
    *workflows.ROWS,
    *answers.ROWS,
    *runs.ROWS,
    *rights.ROWS,
    *system.ROWS,
    *reach.ROWS,
    *gitops.ROWS,
]
