"""``DiscoveredPattern``: what was learned from many runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from kubernaut.api.base import ApiModel, Condition, DnsLabel, DnsName, Identifier, Message, ObjectMeta, Time
from kubernaut.api.names import API_VERSION

Share = Annotated[float, Field(ge=0, le=1)]


class DiscoveredPatternSpec(ApiModel):
    """What people say about a pattern."""

    pinned: bool = False
    muted: bool = False
    note: Message = ""


class Interval(ApiModel):
    """A confidence interval of a share."""

    lower: Share
    upper: Share
    confidence: Share = 0.95


class SuccessRate(ApiModel):
    """How often runs of this pattern ended Remediated, with Wilson's score interval."""

    rate: Share
    interval: Interval
    remediated: Annotated[int, Field(ge=0)]
    concluded: Annotated[int, Field(ge=0)]


class SignatureFeature(ApiModel):
    """One feature that tells this pattern from the rest."""

    name: Annotated[str, StringConstraints(max_length=253)]
    share: Share
    elsewhere: Share


class Signature(ApiModel):
    """What the runs have in common, in words and as features."""

    summary: Annotated[str, StringConstraints(max_length=1024)]
    features: Annotated[list[SignatureFeature], Field(max_length=16)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class Exemplar(ApiModel):
    """A run near the centre of the pattern; it may be gone from the cluster, but not from the history."""

    namespace: DnsLabel
    name: DnsName
    uid: Annotated[str, StringConstraints(max_length=64)]
    verdict: Annotated[str, StringConstraints(max_length=32)]


class Recommendation(ApiModel):
    """The Workflow whose runs helped most within this pattern."""

    workflow: DnsName
    success: SuccessRate
    runs: Annotated[int, Field(ge=0)]
    median_seconds: Annotated[float, Field(ge=0)]


class Quality(ApiModel):
    """How well the cluster holds together: silhouette in [-1, 1], mean membership in [0, 1]."""

    silhouette: Annotated[float, Field(ge=-1, le=1)] | None = None
    membership: Share
    stability: Share | None = None


class DiscoveredPatternStatus(ApiModel):
    """What was learned."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    version: Annotated[int, Field(ge=1)] = 1
    support: Annotated[int, Field(ge=0)] = 0
    success: SuccessRate | None = None
    signature: Signature | None = None
    exemplars: Annotated[list[Exemplar], Field(max_length=5)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
    )
    recommended: Recommendation | None = None
    quality: Quality | None = None
    algorithm: Annotated[str, StringConstraints(max_length=63)] | None = None
    parameters: Annotated[dict[Identifier, JsonValue], Field(max_length=16)] | None = None
    first_seen: Time | None = None
    last_seen: Time | None = None
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class DiscoveredPattern(ApiModel):
    """A recurring kind of incident, how often its repair helped, and which Workflow to use for it."""

    api_version: Literal["kubernaut.io/v1alpha1"] = API_VERSION
    kind: Literal["DiscoveredPattern"] = "DiscoveredPattern"
    metadata: ObjectMeta = ObjectMeta()
    spec: DiscoveredPatternSpec = DiscoveredPatternSpec()
    status: DiscoveredPatternStatus | None = None
