"""The reference in docs/ says what the command does."""

from __future__ import annotations

from pathlib import Path

from kubernaut.cli.reference import reference

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_reference_is_up_to_date() -> None:
    assert DOCS.read_text() == reference(), "run `python -m kubernaut.cli.reference > docs/cli.md`"
