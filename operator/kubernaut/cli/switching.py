"""`kubernaut stop` and `kubernaut start`: throwing the switch and saying what is known of it."""

from __future__ import annotations

import asyncio
from typing import Final

from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.output import emit, show
from kubernaut.cli.place import Place, within
from kubernaut.cli.text import line, safe
from kubernaut.cluster.switch import Switched, set_switch
from kubernaut.core.errors import ClusterError, NotFound

_NAME_SECONDS: Final = 1.0


def throw(
    acting: bool, reason: str, by: str, namespace: str, kubeconfig: str, context: str, form: Format
) -> int:
    """Set the switch; exit 6 where no operator said in time that it saw it."""
    where = namespace or SYSTEM_NAMESPACE
    return within(kubeconfig, context, where, lambda place: _throw(place, acting, reason, by, form))


async def _throw(place: Place, acting: bool, reason: str, by: str, form: Format) -> int:
    try:
        done = await set_switch(
            place.cluster,
            acting=acting,
            by=by or await _who(place),
            reason=reason,
            namespace=place.namespace,
        )
    except NotFound:
        raise CliError(
            f"there is no namespace {place.namespace}, so no operator that could be switched",
            "Install Kubernaut with `kubectl apply -k manifests/base`, or name its namespace with -n.",
            Exit.NOT_FOUND,
        ) from None
    if form.for_programs:
        emit(_wire(done), form)
    else:
        show(*(safe(text) for text in told(done, place.namespace)))
    return Exit.OK if done.acknowledged else Exit.NOT_IN_TIME


def told(done: Switched, namespace: str = SYSTEM_NAMESPACE) -> list[str]:
    """Return what is known, and how it was before where that says something."""
    lines = [line(done.told(namespace))]
    if done.before is None and not done.acknowledged:
        lines.append(
            f"Namespace {line(namespace)} had no switch until now: an operator that lives in another one does not "
            f"see this. -n names where the operator lives, {SYSTEM_NAMESPACE} by default."
        )
    before = done.before
    if before is not None and before.acting == done.state.acting:
        since = f" since {before.since}" if before.since else ""
        why = f": {before.reason}" if before.reason else ""
        lines.append(
            line(f"It said {before.acting} before already, by {before.by or 'somebody'}{since}{why}")
        )
    return lines


async def _who(place: Place) -> str:
    try:
        async with asyncio.timeout(_NAME_SECONDS):
            return await place.whoami()
    except (ClusterError, TimeoutError):
        # Stopping must neither fail nor wait because a name could not be had.
        return ""


def _wire(done: Switched) -> dict[str, object]:
    state, before = done.state, done.before
    return {
        "acting": state.acting,
        "by": state.by,
        "reason": state.reason,
        "since": state.since,
        "acknowledged": done.acknowledged,
        "seconds": round(done.seconds, 3),
        "before": before.acting if before is not None else None,
    }
