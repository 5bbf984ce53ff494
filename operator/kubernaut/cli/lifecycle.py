"""What a Workflow that is not active is good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kubernaut.api.workflow import Lifecycle

LIFECYCLES: Final[Mapping[str, str]] = {
    Lifecycle.DRAFT: "Draft: only dry runs start",
    Lifecycle.DEPRECATED: "Deprecated: only runs that a person or another run starts",
}
