"""Kubernetes quantities (``512Mi``, ``1500m``, ``12e6``), exactly.

Written in the API server's canonical form (apimachinery ``resource.Quantity.CanonicalizeBytes``), so that a value
that was written can be compared with what is read back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Final

_TEXT: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?",
    re.ASCII,
)
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_BY_POWER: Final = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}
_DECIMAL_BY_POWER: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_NANO: Final = Fraction(1, 10**9)
_MAX_LENGTH: Final = 64


class Form(StrEnum):
    """How a quantity is written: powers of 1024, of 1000 with letters, of 1000 with exponents."""

    BINARY = "BinarySI"
    DECIMAL = "DecimalSI"
    EXPONENT = "DecimalExponent"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number and the form it is written in."""

    value: Fraction
    form: Form = Form.DECIMAL

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Read a quantity.

        Raises:
            ValueError: the text is none.
        """
        match = _TEXT.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if match is None:
            raise ValueError(f"{text[:_MAX_LENGTH]!r} is not a quantity; write one such as 512Mi, 2 or 500m")
        number, suffix = Fraction(Decimal(match["number"])), match["suffix"] or ""
        if suffix in _BINARY:
            return cls(number * 1024 ** _BINARY[suffix], Form.BINARY)
        if suffix in _DECIMAL:
            return cls(number * Fraction(10) ** _DECIMAL[suffix], Form.DECIMAL)
        return cls(number * Fraction(10) ** int(suffix[1:]), Form.EXPONENT)

    def times(self, factor: Decimal | Fraction | int) -> Quantity:
        """Return the product, exactly."""
        return Quantity(self.value * Fraction(factor), self.form)

    def rounded_up(self, unit: Fraction | int) -> Quantity:
        """Return the next whole multiple of a unit."""
        return Quantity(Fraction(ceil(self.value / unit)) * Fraction(unit), self.form)

    def __str__(self) -> str:
        whole = ceil(self.value)
        # A number of bytes without a suffix is decimal once it was stored and read, so it is written as such.
        if self.form is Form.BINARY and abs(self.value) >= 1024 and whole % 1024 == 0:
            return _scaled(whole, 1024, 1, 0, 6, _BINARY_BY_POWER)
        rounded = self.form is Form.BINARY and abs(self.value) >= 1024
        nanos = ceil((whole if rounded else self.value) / _NANO)
        if self.form is Form.EXPONENT:
            powers = {power: f"e{power}" if power else "" for power in range(-9, 100, 3)}
            return _scaled(nanos, 1000, 3, -9, 99, powers)
        return _scaled(nanos, 1000, 3, -9, 18, _DECIMAL_BY_POWER)


def _scaled(mantissa: int, base: int, step: int, power: int, top: int, suffixes: dict[int, str]) -> str:
    """Write ``mantissa * base ** (power / step)`` with the largest suffix that needs no fraction."""
    if mantissa == 0:
        return "0"
    while mantissa % base == 0 and power < top:
        mantissa //= base
        power += step
    return f"{mantissa}{suffixes[power]}"
