from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from kubernaut.garbage import ShortCollections


class Node:
    """Something that can be part of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture
def installed() -> Iterator[ShortCollections]:
    """Every collection is long, and hardly anything more may be set aside."""
    collections = ShortCollections(long=0.0, slack=10_000)
    collections.set_aside()
    collections.install()
    try:
        yield collections
    finally:
        collections.remove()
        gc.unfreeze()


def test_what_a_long_collection_found_alive_is_set_aside(installed: ShortCollections) -> None:
    before = gc.get_freeze_count()
    kept = [Node() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() >= before + len(kept)


def test_a_short_collection_sets_nothing_aside() -> None:
    collections = ShortCollections(long=60.0)
    collections.set_aside()
    collections.install()
    try:
        before = gc.get_freeze_count()
        kept = [Node() for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() <= before
        assert kept
    finally:
        collections.remove()
        gc.unfreeze()


def test_cycles_among_what_was_set_aside_are_found_when_there_may_be_many(
    installed: ShortCollections,
) -> None:
    one, other = Node(), Node()
    one.other, other.other = other, one
    gone = weakref.ref(one)
    gc.collect()
    del one, other
    gc.collect()
    assert gone() is not None, "it was set aside"
    kept = [Node() for _ in range(2 * gc.get_freeze_count() + 20_000)]
    gc.collect()
    gc.collect()
    assert gone() is None
    assert kept
