"""What a probe tells of a step that was performed, and what it is told by: reads as data, and what they showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, overload

from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

_LONGEST: Final = 400


class Answer(StrEnum):
    """Unknown where nothing that can be seen tells."""

    YES = "Yes"
    NO = "No"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, and by what it is known."""

    answer: Answer
    evidence: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known now of a step's effect.

    Attributes:
        happened: whether the effect is there: made, and not put back.
        helped: whether what it was for is so now; asked only of what happened.
        evidence: object and field by which that is known, never a value that may be secret.
    """

    happened: Answer
    helped: Answer
    evidence: str

    def __str__(self) -> str:
        return f"happened {self.happened}, helped {self.helped}: {self.evidence}"


def unknown(evidence: str) -> Probed:
    """Return that nothing is known, and why."""
    return Probed(Answer.UNKNOWN, Answer.UNKNOWN, evidence[:_LONGEST])


def not_there(evidence: str) -> Probed:
    """Return that the effect is not there, so that it can't help either."""
    return Probed(Answer.NO, Answer.NO, evidence[:_LONGEST])


def there(evidence: str, helped: Said) -> Probed:
    """Return that the effect is there, and whether it helped."""
    return Probed(Answer.YES, helped.answer, "; ".join(filter(None, (evidence, helped.evidence)))[:_LONGEST])


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind that selectors choose; an empty namespace means all of them."""

    api_version: str
    kind: str
    namespace: str
    label_selector: str = ""
    field_selector: str = ""


Look = ObjectRef | Listing


class Sight:
    """What a probe's reads showed; a read that failed fails again for who asks for it."""

    def __init__(self, found: Mapping[Look, Sequence[Manifest] | Manifest | StepError | None]) -> None:
        self._found = found

    def of(self, ref: ObjectRef) -> Manifest | None:
        """Return an object, or None where there is none.

        Raises:
            StepError: it could not be read.
        """
        found = self._found[_key(ref)]
        if isinstance(found, StepError):
            raise found
        assert not isinstance(found, Sequence)
        return found

    def all_of(self, listing: Listing) -> Sequence[Manifest]:
        """Return the objects that were listed.

        Raises:
            StepError: they could not be.
        """
        found = self._found[listing]
        if isinstance(found, StepError):
            raise found
        assert isinstance(found, Sequence)
        return found


async def see(cluster: Cluster, looks: Iterable[Look]) -> Sight:
    """Read what a probe has to see, each thing once; nothing is changed, and no error is raised."""
    found: dict[Look, Sequence[Manifest] | Manifest | StepError | None] = {}
    for look in dict.fromkeys(_key(one) for one in looks):
        try:
            found[look] = await _read(cluster, look)
        except StepError as error:
            found[look] = error
    return Sight(found)


async def _read(cluster: Cluster, look: Look) -> Sequence[Manifest] | Manifest | None:
    if isinstance(look, Listing):
        return await cluster.list(
            look.api_version,
            look.kind,
            look.namespace,
            label_selector=look.label_selector,
            field_selector=look.field_selector,
        )
    try:
        return await cluster.get(look)
    except NotFound:
        return None


@overload
def _key(look: ObjectRef) -> ObjectRef: ...


@overload
def _key(look: Look) -> Look: ...


def _key(look: Look) -> Look:
    # The UID is what is compared, not what is asked for.
    return replace(look, uid="") if isinstance(look, ObjectRef) else look
