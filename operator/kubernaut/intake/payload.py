"""What Alertmanager posts to a webhook: version 4 of its payload, read strictly where we rely on it.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, FailFast, Field, ValidationError
from pydantic.alias_generators import to_camel

from kubernaut.core.errors import KubernautError
from kubernaut.core.incidents import EARLIEST, LATEST, Alarm
from kubernaut.core.triggers import Alert

_Labels = dict[str, str]


def _bounded(value: datetime) -> datetime:
    return min(max(value, EARLIEST), LATEST)


_Time = Annotated[AwareDatetime, AfterValidator(_bounded)]


class PayloadInvalid(KubernautError):
    """A request body that is no payload of Alertmanager; says which field and what is wrong."""


class AlertState(StrEnum):
    """Whether an alert fires."""

    FIRING = "firing"
    RESOLVED = "resolved"


class _Model(BaseModel):
    # Fields that later versions of Alertmanager add are none of our business.
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class ToldAlert(_Model):
    """One alert of a notification."""

    status: AlertState
    labels: _Labels
    annotations: _Labels = {}
    starts_at: _Time
    ends_at: _Time | None = None
    generator_url: Annotated[str, Field(alias="generatorURL")] = ""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.status is AlertState.FIRING

    def alert(self) -> Alert:
        """Return it as triggers see it."""
        return Alert(
            self.labels, self.annotations, self.fingerprint, self.starts_at.isoformat(), self.generator_url
        )

    def alarm(self, now: datetime) -> Alarm:
        """Return it as incidents see it."""
        if self.firing:
            return Alarm(self.fingerprint, self.starts_at)
        # One that was resolved before it began says nothing of when.
        ended = self.ends_at if self.ends_at is not None and self.ends_at >= self.starts_at else now
        return Alarm(self.fingerprint, self.starts_at, min(ended, max(now, self.starts_at)))


class Notification(_Model):
    """One request of Alertmanager."""

    version: Literal["4"]
    receiver: str
    truncated_alerts: Annotated[int, Field(ge=0)] = 0
    # To tell of each that is none would hold the event loop for seconds: a body may have 300,000 of them.
    alerts: Annotated[list[ToldAlert], FailFast()]


def read(body: bytes) -> Notification:
    """Return what a request says.

    Raises:
        PayloadInvalid: it is no JSON, or no payload of version 4; names the field.
    """
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        raise PayloadInvalid(_told(error.errors(include_url=False, include_input=False)[0])) from None


def _told(detail: Any) -> str:
    where = ".".join(map(str, detail["loc"]))
    if not where:
        return f"the body is no payload of Alertmanager: {detail['msg']}"
    return f"{where}: {detail['msg']} (this takes version 4 of Alertmanager's webhook payload)"
