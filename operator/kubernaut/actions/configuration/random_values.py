"""New random values of a declared alphabet and length."""

from __future__ import annotations

import math
import secrets
import string
from enum import StrEnum
from typing import Final

#: what a value has to withstand at least; a shorter one is refused
MIN_BITS: Final = 80


class Alphabet(StrEnum):
    """Which characters a value is made of."""

    ALPHANUMERIC = "Alphanumeric"
    HEX = "Hex"
    URL_SAFE = "UrlSafe"
    PRINTABLE = "Printable"


# Printable leaves out what shells, URLs and connection strings read as more than itself.
_CHARACTERS: Final = {
    Alphabet.ALPHANUMERIC: string.ascii_letters + string.digits,
    Alphabet.HEX: "0123456789abcdef",
    Alphabet.URL_SAFE: string.ascii_letters + string.digits + "-_",
    Alphabet.PRINTABLE: string.ascii_letters + string.digits + "!#%()*+,-.:;<=>?[]^_{|}~",
}


def bits(alphabet: Alphabet, length: int) -> float:
    """Return how many bits a value of that length holds."""
    return length * math.log2(len(_CHARACTERS[alphabet]))


def value(alphabet: Alphabet, length: int) -> str:
    """Return a new value, from the operating system's source of randomness."""
    return "".join(secrets.choice(_CHARACTERS[alphabet]) for _ in range(length))
