"""What ``run_job`` may be asked for, and the Job that comes of it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kubernaut.actions.fencing import births
from kubernaut.actions.guards import secretive_path
from kubernaut.actions.jobs.job import JOB
from kubernaut.actions.pinned_target import WhenTargetGone
from kubernaut.api.base import UNQUOTED, DnsName, Flag
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.naming import child_job
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.quantity import Quantity

CONTAINER: Final = "job"
_DAY: Final = 86_400
_AFTER: Final = 5
_TEXT: Final = StringConstraints(max_length=4096)
_RESOURCE: Final = re.compile(r"cpu|memory|ephemeral-storage")


def _amounts(given: dict[str, str]) -> dict[str, str]:
    for name, text in given.items():
        if not _RESOURCE.fullmatch(name):
            raise ValueError(f"{name!r} can't be asked for; cpu, memory and ephemeral-storage can")
        if Quantity.parse(text).value <= 0:
            raise ValueError(f"{name}: {text!r} is not above zero")
    return given


Amounts = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=32)]],
    Field(max_length=3),
    AfterValidator(_amounts),
]


class SecretKey(ActionParameters):
    """A key of a Secret in the run's namespace."""

    name: Annotated[DnsName, Field(description="Name of the Secret.")]
    key: Annotated[
        str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253), Field(description="Its key.")
    ]


class EnvVar(ActionParameters):
    """One environment variable: exactly one of ``value`` and ``secretKeyRef``."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=253),
        Field(description="Its name."),
    ]
    value: Annotated[str | None, _TEXT, Field(description="Its value; never a secret.")] = None
    secret_key_ref: Annotated[
        SecretKey | None, Field(description="The Secret's key whose value it gets.")
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.value is None) == (self.secret_key_ref is None):
            raise ValueError(f"{self.name}: set exactly one of value and secretKeyRef")
        if self.value is not None and secretive_path((self.name,)) and self.name not in ("env", "stringData"):
            raise ValueError(
                f"{self.name}: a value of this name may be a secret, and the Workflow and the Job would tell it; "
                "put it into a Secret and name that under secretKeyRef"
            )
        return self


class RunJobParameters(ActionParameters):
    """Parameters of ``run_job``."""

    image: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$", max_length=512),
        Field(description="Image of the one container."),
    ]
    command: Annotated[
        tuple[Annotated[str, _TEXT], ...],
        Field(max_length=64, description="Its command; by default that of the image."),
    ] = ()
    args: Annotated[
        tuple[Annotated[str, _TEXT], ...],
        Field(max_length=64, description="Its arguments; by default those of the image."),
    ] = ()
    env: Annotated[
        tuple[EnvVar, ...],
        Field(
            max_length=32,
            description="Environment variables: `name`, and `value` or `secretKeyRef` (`name`, `key`); secrets come "
            "by reference alone.",
        ),
    ] = ()
    requests: Annotated[Amounts, Field(description="Requested `cpu`, `memory`, `ephemeral-storage`.")] = (
        Field(default_factory=lambda: {"cpu": "50m", "memory": "64Mi"})
    )
    limits: Annotated[Amounts, Field(description="Limits of the same.")] = Field(
        default_factory=lambda: {"memory": "256Mi"}
    )
    run_as_user: Annotated[
        int | None,
        Field(ge=1, le=2**31 - 1, description="User ID; by default the image's own, which must not be root."),
        UNQUOTED,
    ] = None
    mount_token: Annotated[
        Flag, Field(description="Whether the container gets a token of the Workflow's ServiceAccount.")
    ] = False
    backoff_limit: Annotated[
        int,
        Field(ge=0, le=6, description="How often a pod that failed is replaced within the Job."),
        UNQUOTED,
    ] = 0
    active_deadline_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=_DAY,
            description="After so many seconds the Job is ended by its controller; by default 5 after the step's own "
            "`timeout` is over, at which the step ends it.",
        ),
        UNQUOTED,
    ] = None
    tail_lines: Annotated[
        int,
        Field(
            ge=0, le=500, description="How many last lines of the log are kept, at most 4 KiB; 0 for none."
        ),
        UNQUOTED,
    ] = 50
    when_target_gone: Annotated[
        WhenTargetGone,
        Field(
            description="Where the run's target was deleted, or made anew, before the Job is created: create none "
            "(`Refuse`), or create it (`Act`)."
        ),
    ] = WhenTargetGone.REFUSE

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [one.name for one in self.env]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"env: {name} is there twice; give each once")
        return self


def job_ref(context: StepContext) -> ObjectRef:
    """Return the Job of this attempt of the step."""
    name = child_job(context.run_name, context.run_uid, context.step, context.attempt)
    return ObjectRef(*JOB, context.namespace, name)


def asked(context: StepContext, parameters: RunJobParameters) -> Mapping[str, Any]:
    """Return what the mark on the Job stands for: all that the Job is made of."""
    given = parameters.model_dump(mode="json", by_alias=True, exclude={"when_target_gone"})
    return {"account": context.account, **given}


def job_of(context: StepContext, parameters: RunJobParameters, *, stub: bool = False) -> Manifest:
    """Return the Job to create; a stub only takes its name, and never runs."""
    ref = job_ref(context)
    spec: dict[str, Any] = {
        "backoffLimit": parameters.backoff_limit,
        "completions": 1,
        "parallelism": 0 if stub else 1,
        "suspend": stub,
        # The next pod is not made before the one that failed has ended for good.
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": parameters.active_deadline_seconds or _left(context),
        "template": {"spec": _pod(context, parameters)},
    }
    manifest = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace},
        "spec": spec,
    }
    return births.owned_by_run(context, manifest)


def _left(context: StepContext) -> int:
    """Return after how many seconds the Job ends also where nobody is there to end it: soon after the step's time.

    Not at that time: its controller takes the pod away, and with it what tells why it is not done.
    """
    if context.deadline is None:
        return _DAY
    left = math.ceil((context.deadline - context.now).total_seconds())
    return max(1, min(_DAY, left + _AFTER))


def _pod(context: StepContext, parameters: RunJobParameters) -> dict[str, Any]:
    """Return a pod that the Pod Security Standard ``restricted`` admits."""
    user = {} if parameters.run_as_user is None else {"runAsUser": parameters.run_as_user}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": parameters.image,
        "env": [_env(one) for one in parameters.env],
        "resources": {"requests": parameters.requests, "limits": parameters.limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    for field in ("command", "args"):
        if getattr(parameters, field):
            container[field] = list(getattr(parameters, field))
    return {
        "restartPolicy": "Never",
        "serviceAccountName": context.account or "default",
        "automountServiceAccountToken": parameters.mount_token,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **user},
        "containers": [container],
    }


def _env(one: EnvVar) -> dict[str, Any]:
    if one.secret_key_ref is None:
        return {"name": one.name, "value": one.value}
    ref = {"name": one.secret_key_ref.name, "key": one.secret_key_ref.key}
    return {"name": one.name, "valueFrom": {"secretKeyRef": ref}}
