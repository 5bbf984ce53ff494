"""What an audit log says of the use of our roles, folded into a few lines before the log goes with its cluster.

A right counts as used where the API server's authorizer named the role that allowed a request. The variable
``KUBERNAUT_USES`` names the folder in which clusters that go down leave a file each; ``hack/testing.py`` sets it, and
``tests/rights`` compares what all stages used with what is shipped.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "KUBERNAUT_USES"
OWN: Final = "system:serviceaccount:kubernaut-system:"
_ROLE: Final = re.compile(r' of (ClusterRole|Role) "([^"]+)" ')
_ACTING: Final = re.compile(r'cannot impersonate\S* resource "([^"]+)"')
#: rights on these are given by name
_NAMED: Final = frozenset(
    {"configmaps", "secrets", "validatingadmissionpolicies", "validatingadmissionpolicybindings"}
)
_OURS: Final = ("kubernaut-", "view", "edit", "admin")


def leave(log: Path | None, cluster: str) -> None:
    """Fold the log of a cluster that goes down into the folder that the environment names, if it names one."""
    folder = os.environ.get(VARIABLE)
    if not folder or log is None or not log.exists():
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with log.open("rb") as lines:
        found = folded(json.loads(line) for line in lines if line.endswith(b"\n"))
    target = Path(folder) / f"{cluster}-{uuid.uuid4().hex[:8]}.json"
    target.write_text(json.dumps(found, indent=0))


def folded(events: Iterator[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return which rights of which roles were used and by whom, which requests of our accounts were refused, and
    what was done as any account of a namespace, by whichever role.

    Dry runs use nothing. An account counts as itself only where it sent a request with its own token.
    """
    used: Counter[tuple[str, ...]] = Counter()
    acted_as: Counter[tuple[str, ...]] = Counter()
    refused: Counter[tuple[str, ...]] = Counter()
    for event in events:
        if event.get("stage") != "ResponseComplete" or not event.get("objectRef"):
            continue
        sender = (event.get("user") or {}).get("username", "")
        own = sender.removeprefix(OWN) if sender.startswith(OWN) else ""
        code = (event.get("responseStatus") or {}).get("code", 0)
        if code == 403 and own:
            refused[(own, *_refused(event))] += 1
        if code >= 400 or _dry(event):
            continue
        acted = (event.get("impersonatedUser") or {}).get("username", "")
        if own and acted:
            acted_as[_what(event)[:3]] += 1
            used[(own, "kubernaut-impersonate", "impersonate", "", "serviceaccounts", "")] += 1
        role = _ROLE.search((event.get("annotations") or {}).get("authorization.k8s.io/reason", ""))
        if role and role[2].startswith(_OURS):
            used[(own, role[2], *_what(event))] += 1
    names = ("sender", "role", "verb", "group", "resource", "name")
    return {
        "used": [
            dict(zip(names, key, strict=True)) | {"times": times} for key, times in sorted(used.items())
        ],
        "refused": [
            dict(zip(("sender", *names[2:]), key, strict=True)) | {"times": times}
            for key, times in sorted(refused.items())
        ],
        "acted": [
            dict(zip(names[2:5], key, strict=True)) | {"times": times}
            for key, times in sorted(acted_as.items())
        ],
    }


def _what(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    ref = event["objectRef"]
    resource = ref.get("resource", "")
    name = ref.get("name", "") if resource in _NAMED else ""
    what = f"{resource}/{ref['subresource']}" if ref.get("subresource") else resource
    return event.get("verb", ""), ref.get("apiGroup", ""), what, name


def _refused(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    acting = _ACTING.search((event.get("responseStatus") or {}).get("message", ""))
    if acting or event.get("impersonatedUser"):
        return "impersonate", "", acting[1] if acting else "serviceaccounts", ""
    return _what(event)


def _dry(event: Mapping[str, Any]) -> bool:
    # Of a delete that has a body the API server reads no options from the query.
    body = event.get("requestObject")
    if event.get("verb") == "delete" and isinstance(body, Mapping):
        return bool(body.get("dryRun"))
    return "dryRun=" in event.get("requestURI", "")
