"""What can be set about the analysis, from ``KUBERNAUT_ANALYST_*``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kubernaut.api.duration import parse_duration
from kubernaut.api.names import SYSTEM_NAMESPACE


def _span(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Span = Annotated[timedelta, BeforeValidator(_span), Field(gt=timedelta(0), le=timedelta(days=1))]


class AnalystSettings(BaseSettings):
    """The analyst's settings; a value out of bounds is refused at start with its name.

    Attributes:
        namespace: where DiscoveredPattern objects are written.
        interval: time between two rounds.
        recluster: a long history is clustered in full at least this often, where runs came in.
        reload: the history is read anew this often, so that what retention dropped is forgotten.
        min_cluster_size: how many runs make a pattern; unset chooses by the length of the history.
        include_namespace: whether runs of other namespaces are other incidents.
        batch: runs read at once.
        metrics_port: where ``/metrics`` is served; 0 serves none.
    """

    model_config = SettingsConfigDict(env_prefix="KUBERNAUT_ANALYST_", extra="ignore", populate_by_name=True)

    namespace: str = Field(
        SYSTEM_NAMESPACE,
        validation_alias=AliasChoices("KUBERNAUT_ANALYST_NAMESPACE", "KUBERNAUT_NAMESPACE"),
    )
    interval: Span = timedelta(seconds=60)
    recluster: Span = timedelta(minutes=10)
    reload: Span = timedelta(hours=1)
    min_cluster_size: Annotated[int, Field(ge=2, le=100_000)] | None = None
    include_namespace: bool = False
    batch: Annotated[int, Field(ge=1, le=50_000)] = 2_000
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
