"""Quantities: exact, and written as the API server writes them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import quantity as official_package

from kubernaut.core.quantity import Form, Quantity

SUFFIXES = [
    "",
    "n",
    "u",
    "m",
    "k",
    "M",
    "G",
    "T",
    "P",
    "E",
    "Ki",
    "Mi",
    "Gi",
    "Ti",
    "Pi",
    "Ei",
    "e3",
    "E-2",
    "e+1",
]
texts = st.builds(
    lambda number, fraction, suffix: f"{number}{fraction}{suffix}",
    st.integers(0, 10**6),
    st.sampled_from(["", ".5", ".25", ".125", ".", ".001"]),
    st.sampled_from(SUFFIXES),
)


@given(texts)
def test_what_is_written_is_read_back_the_same(text: str) -> None:
    quantity = Quantity.parse(text)
    again = Quantity.parse(str(quantity))
    assert str(again) == str(quantity)
    grain = Fraction(1) if quantity.form is Form.BINARY and quantity.value >= 1024 else Fraction(1, 10**9)
    assert 0 <= again.value - quantity.value < grain


@given(texts.filter(lambda text: "e" not in text.lower() or text.endswith(("e3", "Ei", "E"))))
def test_the_value_is_that_of_the_official_package(text: str) -> None:
    try:
        parse: Any = official_package.parse_quantity
        official = Fraction(parse(text))
    except ValueError:
        return
    assert Quantity.parse(text).value == official


@given(texts, st.decimals(1, 10, places=3), st.sampled_from([Fraction(2**20), Fraction(1, 1000)]))
def test_products_are_exact_and_rounded_up_to_whole_units(text: str, factor: Decimal, unit: Fraction) -> None:
    quantity = Quantity.parse(text)
    product = quantity.times(factor)
    assert product.value == quantity.value * Fraction(factor)
    rounded = product.rounded_up(unit)
    assert rounded.value % unit == 0
    assert 0 <= rounded.value - product.value < unit


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000000", "1M"),
        ("128M", "128M"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("1025", "1025"),
        ("7953.125Ki", "8144k"),
        ("1.0001Ki", "1025"),
        ("0", "0"),
        ("0Mi", "0"),
        ("12e6", "12e6"),
        ("1200e3", "1200e3"),
        ("100e3", "100e3"),
        ("-1.5", "-1500m"),
        ("0.0000000001", "1n"),
    ],
)
def test_quantities_are_written_in_canonical_form(text: str, canonical: str) -> None:
    assert str(Quantity.parse(text)) == canonical


@pytest.mark.parametrize("text", ["", "much", "1 Gi", "1gi", "1Kib", "--1", "1e", "0x10", "1" * 100, "١"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        Quantity.parse(text)
