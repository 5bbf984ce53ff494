"""Whose signature on the API server's certificate counts, read anew where one is met that nobody known has signed.

A cluster's authority is renewed while we run: first all are told of the new one, which in a pod means another content
of a file, then the API server's certificate is signed by it. What was loaded at the start knows only the old one, and
no request would be answered with a 401 that leads to other credentials.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Final

from kubernaut.core.errors import Unavailable

log = logging.getLogger(__name__)
#: seconds between two looks: a certificate that is just wrong stays so
EVERY: Final = 5.0


class Authorities:
    """Adds to what TLS contexts trust; what they trusted before they trust until the process ends.

    Args:
        load: returns a context that trusts what is to be trusted now; raises Unavailable. None where nothing can be
            loaded anew.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[ssl.SSLContext | None]] | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._monotonic = monotonic
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._found: frozenset[bytes] = frozenset()

    async def renew(self, tls: ssl.SSLContext | None) -> bool:
        """Have a context trust what is to be trusted now; return whether that is more than before."""
        if self._load is None or tls is None:
            return False
        async with self._looking:
            if self._monotonic() - self._looked_at >= EVERY:
                self._looked_at = self._monotonic()
                try:
                    self._found = _trusted(await self._load())
                except Unavailable as error:
                    log.warning("the cluster's authorities can't be read", extra={"error": str(error)})
        more = self._found - _trusted(tls)
        if not more:
            return False
        # In place: connections that are had from now on use it, Kopf's among them.
        tls.load_verify_locations(cadata=b"".join(more))
        log.warning("the cluster has other authorities than before; they are trusted from now on")
        return True


def _trusted(tls: ssl.SSLContext | None) -> frozenset[bytes]:
    return frozenset() if tls is None else frozenset(tls.get_ca_certs(binary_form=True))
