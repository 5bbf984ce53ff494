"""What can be set about the analysis, from ``KUBERNAUT_ANALYST_*``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kubernaut.api.names import SYSTEM_NAMESPACE

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class AnalystSettings(BaseSettings):
    """The analyst's settings; a value out of bounds is refused at start with its name.

    Attributes:
        namespace: where DiscoveredPattern objects are written.
        interval: seconds between two rounds.
        recluster: a long history is clustered in full at least this often (seconds), where runs came in.
        reload: the history is read anew this often (seconds), so that what retention dropped is forgotten.
        min_cluster_size: how many runs make a pattern; unset chooses by the length of the history.
        include_namespace: whether runs of other namespaces are other incidents.
        batch: runs read at once.
        metrics_port: where ``/metrics`` is served; 0 serves none.
    """

    model_config = SettingsConfigDict(env_prefix="KUBERNAUT_ANALYST_", extra="ignore")

    namespace: str = SYSTEM_NAMESPACE
    interval: Seconds = 60.0
    recluster: Seconds = 600.0
    reload: Seconds = 3_600.0
    min_cluster_size: Annotated[int, Field(ge=2, le=100_000)] | None = None
    include_namespace: bool = False
    batch: Annotated[int, Field(ge=1, le=50_000)] = 2_000
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
