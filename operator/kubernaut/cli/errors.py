"""How a command ends: exit codes, and the one error that every failure is told as."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kubernaut.core import errors as core


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    OK = 0
    BAD_INPUT = 1
    RUN_FAILED = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    FORBIDDEN = 5
    NOT_IN_TIME = 6
    INTERRUPTED = 130
    CUT_OFF = 141


MEANINGS: Final = {
    Exit.OK: "done; a run that was waited for succeeded (Remediated, NoActionRequired, Inconclusive)",
    Exit.BAD_INPUT: "wrong usage or bad input; lint found problems",
    Exit.RUN_FAILED: "the run that was waited for failed, was cancelled or declined, or did not help; "
    "with --fail-on-difference, past runs would have gone otherwise",
    Exit.UNREACHABLE: "no cluster (or history) could be reached with what was given",
    Exit.NOT_FOUND: "the object named, or Kubernaut in this cluster, does not exist",
    Exit.FORBIDDEN: "your account lacks a right",
    Exit.NOT_IN_TIME: "what was waited for did not happen in time",
    Exit.INTERRUPTED: "interrupted",
    Exit.CUT_OFF: "who read the output went away before its end, as head does; nothing is said of how it went",
}


class CliError(Exception):
    """A command that can't go on: what happened, what to do about it, and the exit code."""

    def __init__(self, message: str, fix: str = "", code: Exit = Exit.BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code


def told(error: core.ClusterError) -> CliError:
    """Turn what a cluster answered into what a person is told."""
    message = str(error)
    if isinstance(error, core.Forbidden) or error.status == 403:
        fix = "Ask for that right, or use another context (--context)."
        return CliError(message, fix, Exit.FORBIDDEN)
    if error.status == 401:
        fix = "Log in again, or give other credentials with --kubeconfig or --context."
        return CliError(message, fix, Exit.UNREACHABLE)
    if isinstance(error, core.NotFound):
        return CliError(message, "", Exit.NOT_FOUND)
    if isinstance(error, core.UnknownOutcome):
        fix = "It may or may not have happened: look before you try again."
        return CliError(message, fix, Exit.UNREACHABLE)
    if isinstance(error, core.Unavailable):
        fix = "Check that the cluster runs and that --kubeconfig and --context name the right one."
        return CliError(message, "" if "--kubeconfig" in message else fix, Exit.UNREACHABLE)
    if isinstance(error, core.Conflict):
        return CliError(message, "Somebody changed it at the same time; try again.", Exit.BAD_INPUT)
    return CliError(message, "", Exit.BAD_INPUT)
