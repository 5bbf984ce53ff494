"""The span of a mutating request, within the trace of the run for which it is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from kubernaut import speaking, tracing
from kubernaut.cluster.call import Call
from kubernaut.core.errors import ClusterError
from kubernaut.core.tracing import span_id, step_span, trace_id
from kubernaut.speaking import About
from kubernaut.tracing import Kind, Span

_NOTHING: Final = nullcontext()


def requesting(call: Call, account: str) -> AbstractContextManager[None]:
    """Tell of a request once it has ended; of one that changes nothing, or is sent for no run, nothing is told."""
    if not tracing.wanted() or not call.mutates:
        return _NOTHING
    about = speaking.spoken_of()
    if about is None or about.kind != "WorkflowExecution" or not about.uid:
        return _NOTHING
    return _told(call, account, about)


@contextmanager
def _told(call: Call, account: str, about: About) -> Iterator[None]:
    began, error = time.time_ns(), ""
    attributes: dict[str, str | int | bool] = {
        "http.request.method": call.method,
        "url.path": call.path.partition("?")[0],
        "kubernaut.object": call.object,
    }
    if account:
        attributes["kubernaut.account"] = account
    if call.dry_run:
        attributes["kubernaut.dry_run"] = True
    try:
        yield
    except ClusterError as refused:
        error = type(refused).__name__
        if refused.status:
            attributes["http.response.status_code"] = refused.status
        raise
    except BaseException as odd:
        error = type(odd).__name__
        raise
    finally:
        where = f"{call.resource.plural}/{call.subresource}".rstrip("/")
        parent = step_span(about.uid, about.step) if about.step else span_id(about.uid)
        tracing.end(
            Span(
                f"{call.verb} {where}",
                trace_id(about.uid),
                tracing.new_span_id(),
                parent,
                began,
                time.time_ns(),
                attributes,
                error,
                Kind.CLIENT,
            )
        )
