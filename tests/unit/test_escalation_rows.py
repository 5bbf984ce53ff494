"""The attempts to get more rights: how many there are, of how many classes, each with its twin; and in the docs."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from escalation.played import ROWS as PLAYED
from escalation.played.alerted import ROWS as ALERTED
from escalation.played.alerted import Alerted
from escalation.played.story import Played
from escalation.rows import Row
from escalation.tables import ROWS

ALL: list[Row | Played | Alerted] = [*ROWS, *PLAYED, *ALERTED]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- classes -->", "<!-- end of classes -->"


def test_there_are_enough_of_enough_classes() -> None:
    assert len(ALL) >= 150
    assert len({row.of for row in ALL}) >= 15


def test_each_is_there_once() -> None:
    assert [name for name, times in Counter(map(str, ALL)).items() if times > 1] == []


def test_each_has_a_twin_that_is_another_request() -> None:
    assert [str(row) for row in ROWS if row.twin == row.attempt] == []
    assert [str(row) for row in PLAYED if row.twin is row.attempt] == []
    assert [str(row) for row in ALERTED if row.twin == row.word] == []


def test_the_twin_is_near() -> None:
    """It differs by who asks, or by what is asked of the same kind of thing: not by everything at once."""
    far = [
        str(row)
        for row in ROWS
        if row.twin.who != row.attempt.who
        and row.twin.method != row.attempt.method
        and row.twin.path != row.attempt.path
    ]
    assert len(far) <= len(ROWS) // 10, far


def table() -> str:
    """Return the table of the docs: each class, how many attempts, and who refuses them."""
    count: Counter[str] = Counter()
    refusing: defaultdict[str, list[str]] = defaultdict(list)
    for row in ALL:
        count[row.of] += 1
        told = (
            f"`{row.refused_by.removeprefix('policy ')}`"
            if row.refused_by.startswith("policy ")
            else row.refused_by
        )
        told = told if isinstance(row, Row) else {"engine": "the operator", "lint": "lint"}[told]
        if told not in refusing[row.of]:
            refusing[row.of].append(told)
    lines = [f"| {of} | {times} | {', '.join(refusing[of])} |" for of, times in sorted(count.items())]
    total = f"| all {len(count)} | {sum(count.values())} | |"
    return "\n".join(["| class | attempts | refused by |", "|---|---|---|", *lines, total])


def test_the_docs_hold_the_table_of_classes() -> None:
    text = PAGE.read_text()
    told = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert told == table(), f"put this between {BEGIN} and {END} of docs/security.md:\n{table()}"
