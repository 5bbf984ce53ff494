"""Secrets laid out where they do not belong to us, and the search for any trace of them in what we write."""

from __future__ import annotations

import base64
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass
class Canaries:
    """Values by where they were planted; each is a word of its own that nobody else writes."""

    values: dict[str, str] = field(default_factory=dict)

    def plant(self, where: str) -> str:
        """Return a new value; it has a sign that URLs and HTML write otherwise."""
        assert where not in self.values, where
        # Lower case and digits, as labels and names would need it, with signs inside.
        value = f"kn{len(self.values):02d}+{secrets.token_hex(8)}~x"
        return self.known(where, value)

    def known(self, where: str, value: str) -> str:
        """Take note of a value that somebody else made."""
        self.values[where] = value
        return value

    def found(self, told: Mapping[str, str | bytes]) -> list[str]:
        """Say which values are in which texts: plain, in base64 at each offset, URL-encoded, in hexadecimal."""
        forms = [(where, form) for where, value in self.values.items() for form in _forms(value)]
        hits = []
        for place, text in told.items():
            data = text.encode() if isinstance(text, str) else text
            for unpacked in _unpacked(data):
                hits += [
                    f"{where}: in {place}: {_around(unpacked, form)}"
                    for where, form in forms
                    if form in unpacked
                ]
        return sorted(set(hits))


def _forms(value: str) -> list[bytes]:
    raw = value.encode()
    found = {raw, quote(value, safe="").encode(), raw.hex().encode(), raw[::-1]}
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + raw)
        # The first and last characters hang on what stands beside it.
        inner = text[4 if offset else 0 : -4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    # Without what may be cut off at either end it is told all the same.
    return sorted({*found, raw[5:21]})


def _around(data: bytes, form: bytes) -> str:
    at = data.index(form)
    return data[max(0, at - 200) : at].decode(errors="replace")


def _unpacked(data: bytes) -> Iterable[bytes]:
    yield data
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS, zlib.MAX_WBITS | 16):
        try:
            yield zlib.decompress(data, window)
        except zlib.error:
            continue


def marks(manifest: Mapping[str, Any]) -> str:
    """Return what we wrote on somebody's object."""
    annotations = manifest["metadata"].get("annotations") or {}
    return str({key: text for key, text in annotations.items() if "kubernaut.io/" in key})
