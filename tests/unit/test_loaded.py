"""What the operator does not load where nobody wants it: libraries cost memory and time at its start."""

from __future__ import annotations

import subprocess
import sys

UNWANTED = ("slack_sdk", "aiosmtplib", "opentelemetry", "numpy", "sklearn")


def test_what_is_off_by_default_is_not_loaded() -> None:
    code = f"import kubernaut.app, sys; print([one for one in {UNWANTED!r} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
