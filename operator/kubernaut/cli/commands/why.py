"""The `why` command."""

from __future__ import annotations

from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Dsn, Kubeconfig, Namespace, Output, RunName


def why(
    name: RunName,
    dsn: Dsn = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Tell the trail of a run: who asked, what was resolved, what each step did, what the evidence says.

    Of each step that changed something it tells whether the effect is there now and whether it helped; only reads are
    sent for that.

    With --dsn also for a run that is gone from the cluster, by its name or its uid.
    """
    from kubernaut.cli.reasons import tell

    return tell(name, dsn, namespace, kubeconfig, context, output)
