"""Actions on what is outside the cluster's API."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.fencing import fence
from kubernaut.actions.outside.http_request import SendHttpRequest
from kubernaut.actions.outside.silence_alert import SilenceAlert
from kubernaut.core.action import Action


def actions(finished: fence.Finished) -> tuple[Action[Any], ...]:
    """Return the actions of this family."""
    return (SendHttpRequest(), SilenceAlert())
