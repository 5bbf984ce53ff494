"""`kubernaut diagnostics`: a bundle from the history, decrypted here."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kubernaut.api.execution import WorkflowExecution
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.historic import reading_history
from kubernaut.cli.objects import RUN, fetch, parsed
from kubernaut.cli.output import emit, show
from kubernaut.cli.place import Place, within
from kubernaut.cli.views import bundle as views
from kubernaut.core.errors import Unavailable
from kubernaut.history.bundles import BundleInfo, Bundles, unseal
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.errors import KeysUnusable, KeyUnknown, Tampered

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def tell(
    run: str, step: str, dsn: str, keys: str, namespace: str, kubeconfig: str, context: str, form: Format
) -> int:
    """Show what a step kept; where none is named and there are several, which there are."""
    ring = KeyRing(Path(keys).expanduser())
    if trouble := ring.trouble():
        raise CliError(trouble, "Give the file with --keys; the operator has it of a mounted Secret.")
    if _UID.fullmatch(run):
        return asyncio.run(_shown(run, run, step, dsn, ring, form))

    async def in_cluster(place: Place) -> int:
        uid = await _uid(place, run, dsn)
        return await _shown(uid, run, step, dsn, ring, form)

    try:
        return within(kubeconfig, context, namespace, in_cluster)
    except Unavailable:
        if not namespace:
            raise

    async def in_history() -> int:
        from kubernaut.cli.past import remembered

        return await _shown((await remembered(dsn, namespace, run)).uid, run, step, dsn, ring, form)

    return asyncio.run(in_history())


async def _uid(place: Place, name: str, dsn: str) -> str:
    """Return the uid of a run, from the cluster while it is there, from the history after."""
    try:
        found = parsed(WorkflowExecution, await fetch(place.cluster, RUN, place.namespace, name))
    except CliError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        from kubernaut.cli.past import remembered

        return (await remembered(dsn, place.namespace, name)).uid
    return found.metadata.uid


async def _shown(uid: str, name: str, step: str, dsn: str, keys: KeyRing, form: Format) -> int:
    with reading_history():
        database = Database(dsn, migrating=False, connections=1)
        try:
            kept = await Bundles(database).of_run(uid)
            if not step and len(kept) > 1:
                _list(kept, form)
                return Exit.OK
            chosen = step or (kept[0].step if kept else "")
            found = await Bundles(database).load(uid, chosen) if kept else None
        finally:
            await database.close()
    if found is None:
        raise _nothing(name, step, kept)
    try:
        content: dict[str, Any] = json.loads(unseal(keys, found))
    except (KeyUnknown, Tampered, KeysUnusable) as error:
        raise CliError(f"what step {chosen} kept can't be read: {error}", "", Exit.BAD_INPUT) from None
    if form.for_programs:
        emit(content, form)
    else:
        show(*views.details(content, name, found.step))
    return Exit.OK


def _list(kept: Sequence[BundleInfo], form: Format) -> None:
    if form.for_programs:
        rows = [{"step": one.step, "takenAt": one.taken_at.isoformat(), "bytes": one.size} for one in kept]
        emit(rows, form)
    else:
        show(views.listing(kept))


def _nothing(name: str, step: str, kept: Sequence[BundleInfo]) -> CliError:
    if kept:
        steps = ", ".join(one.step for one in kept)
        return CliError(f"step {step} of run {name} kept nothing", f"These did: {steps}.", Exit.NOT_FOUND)
    return CliError(
        f"run {name} kept no diagnostics, or they wait on the operator's disk for Postgres",
        "See the output `bundle` of its step: `kubernaut why` shows it.",
        Exit.NOT_FOUND,
    )
