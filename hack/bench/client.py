"""A plain client: JSON over kept connections, nothing more. The benchmarks and the peer use it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import yaml
from yarl import URL

Manifest = dict[str, Any]
MERGE = "application/merge-patch+json"
_ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Refused(Exception):
    """The API server answered with an error; ``code`` is its HTTP status."""

    def __init__(self, method: str, path: str, code: int, body: bytes) -> None:
        super().__init__(f"{method} {path}: {code} {body[:300].decode(errors='replace')}")
        self.code = code


class PlainClient:
    """Requests with a token from a kubeconfig; with ``account`` as that user, by impersonation."""

    def __init__(self, kubeconfig: Path, *, pool: int = 64, account: str = "") -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._host = cluster["server"]
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        if account:
            self._headers["Impersonate-User"] = account
        connector = aiohttp.TCPConnector(limit=pool, ssl=ssl.create_default_context(cadata=authority))
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """Send a request and return its answer, parsed.

        Raises:
            Refused: the API server answered with an error.
        """
        data = orjson.dumps(body) if body is not None else None
        headers = {**self._headers, "Content-Type": content_type} if data else self._headers
        url = URL(self._host + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise Refused(method, path, response.status, answer)
        return orjson.loads(answer)

    async def patch(self, path: str, body: Manifest) -> Manifest:
        """Send a merge patch."""
        answer: Manifest = await self.send("PATCH", path, body, MERGE)
        return answer

    async def names(self, path: str, query: str = "") -> list[str]:
        """Return the names of all objects of a collection."""
        answer = await self.send("GET", f"{path}?{query}")
        return [item["metadata"]["name"] for item in answer["items"]]

    async def watch(self, path: str, query: str) -> AsyncIterator[tuple[str, Manifest]]:
        """Yield type and metadata of each event, until the server ends the watch."""
        headers = {**self._headers, "Accept": _ONLY_METADATA}
        url = URL(f"{self._host}{path}?watch=1&{query}", encoded=True)
        times = aiohttp.ClientTimeout(total=None)
        async with self._session.get(url, headers=headers, timeout=times) as response:
            if response.status >= 300:
                raise Refused("GET", path, response.status, await response.read())
            async for line in response.content:
                event = orjson.loads(line)
                yield event["type"], event["object"]["metadata"]
