"""``DiscoveredPattern``: what was learned from many runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from kubernaut.api.base import (
    MAX_COUNT,
    UNQUOTED,
    ApiModel,
    Condition,
    Count,
    DnsLabel,
    DnsName,
    Flag,
    Message,
    ObjectMeta,
    Share,
    Time,
    Uid,
)
from kubernaut.api.markers import ListMap
from kubernaut.api.names import API_VERSION


class DiscoveredPatternSpec(ApiModel):
    """What people say about a pattern."""

    pinned: Flag = False
    """Keep the pattern even when no run belongs to it any more."""
    muted: Flag = False
    """Don't recommend anything from it."""
    note: Message = ""
    """Whatever people want to remember."""


class Interval(ApiModel):
    """A confidence interval of a share."""

    lower: Share
    """Lower bound."""
    upper: Share
    """Upper bound."""
    confidence: Share = 0.95
    """How sure the interval is."""


class SuccessRate(ApiModel):
    """How often runs of this pattern ended Remediated, with Wilson's score interval."""

    rate: Share
    """Remediated runs of all concluded ones."""
    interval: Interval
    remediated: Count
    """Runs that ended Remediated."""
    concluded: Count
    """Runs that ended Remediated, NotFixed or RolledBack."""


class SignatureFeature(ApiModel):
    """One feature that tells this pattern from the rest."""

    name: Annotated[str, StringConstraints(max_length=253)]
    """The feature, as in symptom=OOMKilled."""
    share: Share
    """Share of the pattern's runs that have it."""
    elsewhere: Share
    """Share of all other runs that have it."""


class Signature(ApiModel):
    """What the runs have in common, in words and as features."""

    summary: Annotated[str, StringConstraints(max_length=1024)]
    """The same in words."""
    features: Annotated[list[SignatureFeature], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list
    )
    """The features that tell it apart, the strongest first."""


class Exemplar(ApiModel):
    """A run near the centre of the pattern; it may be gone from the cluster, but not from the history."""

    namespace: DnsLabel
    """Namespace of the run."""
    name: DnsName
    """Name of the run."""
    uid: Uid
    """UID of the run."""
    verdict: Annotated[str, StringConstraints(max_length=32)]
    """Whether it helped."""


class Recommendation(ApiModel):
    """The Workflow whose runs helped most within this pattern."""

    workflow: DnsName
    """Name of the Workflow."""
    success: SuccessRate
    runs: Count
    """Its runs within the pattern."""
    median_seconds: Annotated[float, Field(ge=0, le=1e9), UNQUOTED]
    """How long they took."""


class Quality(ApiModel):
    """How well the cluster holds together: silhouette in [-1, 1], mean membership in [0, 1]."""

    silhouette: Annotated[float, Field(ge=-1, le=1), UNQUOTED] | None = None
    """Mean silhouette coefficient of its runs."""
    membership: Share
    """Mean strength of membership of its runs."""
    stability: Share | None = None
    """Share of its former runs that are still in it."""


class DiscoveredPatternStatus(ApiModel):
    """What was learned."""

    observed_generation: Count = 0
    """The generation of the spec that was looked at."""
    version: Annotated[int, Field(ge=1, le=MAX_COUNT), UNQUOTED] = 1
    """How many times what was learned has changed."""
    support: Count = 0
    """How many runs belong to it."""
    success: SuccessRate | None = None
    signature: Signature | None = None
    exemplars: Annotated[list[Exemplar], Field(max_length=5), ListMap("uid")] = Field(default_factory=list)
    """Typical runs to look at."""
    recommended: Recommendation | None = None
    quality: Quality | None = None
    algorithm: Annotated[str, StringConstraints(max_length=63)] | None = None
    """How it was found."""
    parameters: Annotated[dict[str, JsonValue], Field(max_length=16)] | None = None
    """The algorithm's parameters."""
    first_seen: Time | None = None
    """When its first run was."""
    last_seen: Time | None = None
    """When its last run was."""
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap("type")] = Field(
        default_factory=list
    )
    """Ready."""


class DiscoveredPattern(ApiModel):
    """A recurring kind of incident, how often its repair helped, and which Workflow to use for it."""

    api_version: Literal["kubernaut.io/v1alpha1"] = API_VERSION
    kind: Literal["DiscoveredPattern"] = "DiscoveredPattern"
    metadata: ObjectMeta = ObjectMeta()
    spec: DiscoveredPatternSpec = DiscoveredPatternSpec()
    status: DiscoveredPatternStatus | None = None
