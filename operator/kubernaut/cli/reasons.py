"""`kubernaut why`: from the cluster while the run is there, from the history after."""

from __future__ import annotations

import asyncio

from kubernaut.api.execution import WorkflowExecution
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import RUN, fetch, parsed, snapshot
from kubernaut.cli.outline import rows
from kubernaut.cli.output import bare, emit, note, show
from kubernaut.cli.place import Place, within
from kubernaut.cli.times import now
from kubernaut.cli.views.why import trail
from kubernaut.core.errors import Unavailable


def tell(name: str, dsn: str, namespace: str, kubeconfig: str, context: str, form: Format) -> int:
    """Show the trail of a run; where the cluster is away or has forgotten it, the history's."""
    try:
        return within(kubeconfig, context, namespace, lambda place: _from_cluster(place, name, dsn, form))
    except Unavailable as error:
        if not (dsn and namespace):
            raise
        note(f"The cluster can't be asked ({error}).")
        return asyncio.run(_from_history(name, dsn, namespace, form, "the cluster can't be asked"))


async def _from_cluster(place: Place, name: str, dsn: str, form: Format) -> int:
    try:
        found = await fetch(place.cluster, RUN, place.namespace, name)
    except CliError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        if not dsn:
            more = "If it is gone from the cluster, give the history's address with --dsn or KUBERNAUT_DSN."
            raise CliError(error.message, f"{error.fix} {more}".strip(), error.code) from None
        return await _from_history(name, dsn, place.namespace, form, "it is gone from the cluster")
    if form.for_programs:
        emit(bare(found), form)
        return Exit.OK
    from kubernaut.cli.probing import probes

    run = parsed(WorkflowExecution, found)
    spec = await snapshot(place.cluster, run)
    effects = await probes(place.cluster, run, spec, now())
    show(trail(run, rows(run, spec), spec, now(), probes=effects))
    return Exit.OK


async def _from_history(name: str, dsn: str, namespace: str, form: Format, because: str) -> int:
    from kubernaut.cli.past import as_run, remembered

    run, steps = as_run(await remembered(dsn, namespace, name))
    if form.for_programs:
        emit(run.wire(), form)
    else:
        show(trail(run, steps, None, now(), source=f"Read from the history: {because}."))
    return Exit.OK
