"""The endpoint for Prometheus and the kubelet: /metrics, /healthz (progress), /readyz."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from kubernaut.metrics import REGISTRY

# A worker proves itself every 2 s; ten missed proofs are no hiccup.
MAX_SECONDS_WITHOUT_PROGRESS = 20.0
#: seconds after which a connection is closed on which nothing is asked; aiohttp's own are an hour
IDLE = 75.0


class HealthServer:
    """Serves metrics and health.

    Liveness says that workers work and that nothing has died that only a restart brings back, not that a task
    exists; it does not hang on the API server or on Postgres, because a restart mends neither.
    """

    def __init__(
        self,
        host: str,
        port: int,
        progress: Callable[[], float],
        not_ready: Callable[[], str | None],
        broken: Callable[[], str | None] = lambda: None,
        ready: Callable[[], str] = lambda: "ok",
    ) -> None:
        self._host = host
        self._port = port
        self._progress = progress
        self._not_ready = not_ready
        self._broken = broken
        self._say_ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Begin to serve; return the port.

        Raises:
            OSError: the port can't be had; says what to do.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            told = (
                f"metrics and health can't be served on {self._host} port {self._port}: {error.strerror or error}; "
                "set KUBERNAUT_BIND and KUBERNAUT_PORT to an address of this machine and a free port (0 takes one)"
            )
            raise OSError(told) from error
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        seconds = self._progress()
        if seconds > MAX_SECONDS_WITHOUT_PROGRESS:
            return web.Response(status=503, text=f"no worker has done anything for {seconds:.0f} s\n")
        broken = self._broken()
        if broken is not None:
            return web.Response(status=503, text=f"{broken}\n")
        return web.Response(text=f"ok; a worker proved itself {seconds:.1f} s ago\n")

    async def _ready(self, _: web.Request) -> web.Response:
        reason = self._not_ready()
        return web.Response(status=503 if reason else 200, text=f"{reason or self._say_ready()}\n")
