"""Prometheus' own judgement of rules and of pages of metrics, and Alertmanager's of a configuration."""

from __future__ import annotations

import subprocess

from monitoring.programs import programs


class Refused(Exception):
    """promtool or amtool found something wrong; the message is what it said."""


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool; return what it said.

    Raises:
        Refused: it found something wrong.
        localcluster.errors.ClusterError: the program can't be had.
    """
    return _judged("promtool", *arguments, given=given)


def amtool(*arguments: str) -> str:
    """Run amtool; return what it said. Raises as promtool does."""
    return _judged("amtool", *arguments)


def _judged(program: str, *arguments: str, given: str = "") -> str:
    command = [str(programs() / program), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise Refused(said)
    return said
