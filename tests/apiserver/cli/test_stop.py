"""The stop switch."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

from apiserver.cli.space import Space
from kubernaut.cli import main
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.switch import ActingSwitch


def test_stop_without_an_operator_is_written_and_says_that_nobody_acknowledged(space: Space) -> None:
    assert space("stop", "--reason", "storage maintenance", "--by", "ada") == 6
    assert "The switch says stopped. No operator acknowledged it" in space.out
    switch = json.loads(space.kubectl("get", "configmap", "kubernaut-switch", "-o", "json"))["data"]
    assert (switch["acting"], switch["by"], switch["reason"]) == ("stopped", "ada", "storage maintenance")
    assert space("stop") == 6
    assert "It said stopped before already, by ada" in space.out
    assert space("start", "-o", "json") == 6
    told = json.loads(space.out)
    assert (told["acting"], told["acknowledged"], told["before"]) == ("on", False, "stopped")


class Operator:
    """The part of an operator that reads the switch, on a thread of its own."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._arguments = kubeconfig, namespace
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()))
        self._ready = threading.Event()

    async def _read(self) -> None:
        kubeconfig, namespace = self._arguments
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with await ApiConnection.load(kubeconfig) as connection:
            reading = asyncio.create_task(ActingSwitch(connection.own(), namespace).run())
            self._ready.set()
            await self._done.wait()
            reading.cancel()
            await asyncio.wait([reading])

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()


def test_stop_and_start_say_when_the_operator_acknowledged_them(space: Space) -> None:
    with Operator(space.cluster.kubeconfig, space.namespace):
        assert space("stop", "--reason", "drill") == 0
        assert "Acting is stopped: the operator acknowledged it after" in space.out
        assert space("start") == 0
        assert "Acting is allowed: the operator acknowledged it after" in space.out


def test_stop_where_nothing_is_installed_says_so(space: Space) -> None:
    assert main(["stop", "-n", "no-such-namespace"]) == 4
    assert "there is no namespace no-such-namespace" in space.capsys.readouterr().err
