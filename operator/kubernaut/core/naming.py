"""Names of objects that follow from what they are for, so that AlreadyExists means done."""

from __future__ import annotations

import hashlib
import re
from typing import Final

MAX_NAME: Final = 253
# Its pods' names and labels hold a Job's name.
MAX_JOB_NAME: Final = 63
_DIGITS: Final = 10
# What is left of a step's path in a name; the hash tells apart what was cut.
_MAX_STEP: Final = 63


def child_run(run_name: str, run_uid: str, step: str, attempt: int) -> str:
    """Return the name of the run that one attempt of a subflow step starts: RUN-STEP-ATTEMPT-HASH.

    It is a DNS subdomain name (RFC 1123) of at most 253 characters. The hash (40 bits of SHA-256 over the run's UID,
    the step and the attempt) is never cut, so names differ where any of these does.
    """
    return _of_attempt(run_name, run_uid, step, attempt, MAX_NAME, _MAX_STEP)


def child_job(run_name: str, run_uid: str, step: str, attempt: int) -> str:
    """Return the name of the Job that one attempt of a step creates: as ``child_run``, in at most 63 characters."""
    return _of_attempt(run_name, run_uid, step, attempt, MAX_JOB_NAME, MAX_JOB_NAME // 3)


def _of_attempt(run_name: str, run_uid: str, step: str, attempt: int, most: int, most_step: int) -> str:
    key = "\n".join((run_uid, step, str(attempt)))
    tail = f"{attempt}-{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}"
    path = re.sub(r"[^a-z0-9]+", "-", step.lower())[:most_step].strip("-")
    head = run_name[: most - len(tail) - len(path) - 2].rstrip("-.")
    return "-".join(filter(None, (head, path, tail)))
