"""The operator with a clock that is set wrong by $SKEW seconds; its monotonic clocks are as everybody's."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from kubernaut import app

SKEW = timedelta(seconds=float(os.environ["SKEW"]))

app.utcnow = lambda: datetime.now(UTC) + SKEW

if __name__ == "__main__":
    raise SystemExit(app.main())
