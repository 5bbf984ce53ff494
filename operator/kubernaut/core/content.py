"""What a Workflow's content is: its canonical form, its hash, the name of its snapshot."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from kubernaut.api.workflow import WorkflowSpec

# Fields that came when there were contents already: left out at their default, so that these keep their hash.
_LATER: Final = (("triggers",), ("verify", "metrics"))


def canonical(spec: WorkflowSpec) -> str:
    """Return the spec as JSON with sorted keys and no blanks; equal specs give equal texts."""
    content = spec.wire()
    for *above, name in _LATER:
        within = content
        for one in above:
            within = within.get(one) or {}
        if not within.get(name, True):
            del within[name]
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(spec: WorkflowSpec) -> str:
    """Return the SHA-256 of the canonical form as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()


def snapshot_name(workflow: str, digest: str) -> str:
    """Return the name of the ControllerRevision that holds this content of this Workflow."""
    return f"{workflow[:240]}-{digest[:10]}"
