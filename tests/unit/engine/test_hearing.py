"""What lists find and watches never bring is missed; what they bring later is not, nor what is gone."""

from __future__ import annotations

import pytest

from kubernaut.core.ports import Manifest
from kubernaut.engine.hearing import PATIENCE, RUNS, WORKFLOWS, Hearing
from kubernaut.metrics import REGISTRY

LONG = 180.0


def run(version: int, uid: str = "u1") -> Manifest:
    return {"metadata": {"uid": uid, "resourceVersion": str(version), "namespace": "shop", "name": uid}}


class Ears:
    def __init__(self) -> None:
        self.now = 1000.0
        self.hearing = Hearing(lambda: self.now)
        self._before = self._count()

    def relist(self, *objects: Manifest, new: bool = False, seconds: float = 15) -> None:
        self.now += seconds
        for one in objects:
            self.hearing.listed(RUNS, one, new=new)
        self.hearing.looked(RUNS)

    @staticmethod
    def _count() -> float:
        return REGISTRY.get_sample_value("kubernaut_watch_missed_events_total", {"kind": RUNS}) or 0

    @property
    def missed(self) -> float:
        return self._count() - self._before


@pytest.fixture
def ears() -> Ears:
    return Ears()


def test_a_list_that_was_a_bit_quicker_than_the_watch_is_no_miss(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    ears.now += PATIENCE / 2
    ears.hearing.heard(RUNS, run(5))
    for _ in range(30):
        ears.relist(run(5))
    assert (ears.missed, ears.hearing.deaf(LONG)) == (0, None)


def test_what_never_comes_is_missed_once_and_the_kind_is_deaf_until_it_says_anything(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    ears.relist(run(5))
    assert (ears.missed, ears.hearing.deaf(LONG)) == (1, None)
    for _ in range(13):
        ears.relist(run(5))
    assert (ears.missed, ears.hearing.deaf(LONG)) == (1, RUNS)
    ears.hearing.heard(RUNS, run(9, "another"))
    assert ears.hearing.deaf(LONG) is None


def test_an_older_version_than_was_listed_is_not_it(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    ears.hearing.heard(RUNS, run(4))
    ears.relist(run(5))
    assert ears.missed == 1


def test_what_is_gone_by_the_next_list_is_no_miss(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    for _ in range(30):
        ears.relist()
    assert (ears.missed, ears.hearing.deaf(LONG)) == (0, None)


def test_while_nothing_can_be_listed_nothing_gets_deaf(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    ears.relist(run(5))
    ears.now += 3600
    assert (ears.missed, ears.hearing.deaf(LONG)) == (1, None)


def test_kinds_are_told_apart(ears: Ears) -> None:
    ears.relist(run(5), new=True)
    ears.relist(run(5))
    ears.hearing.heard(WORKFLOWS, run(7, "w"))
    for _ in range(15):
        ears.relist(run(5))
    assert ears.hearing.deaf(LONG) == RUNS
