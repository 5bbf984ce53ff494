"""Liveness notices a watch that has ended."""

from __future__ import annotations

import asyncio

from kubernaut.handlers import WATCHED, WatchGuard


def watch(kind: str, namespace: str | None = None) -> asyncio.Task[None]:
    name = f"watcher for {kind}.v1alpha1.kubernaut.io@{namespace}"
    return asyncio.create_task(asyncio.sleep(3600), name=name)


async def test_a_watch_counts_as_dead_only_after_it_was_seen_alive() -> None:
    guard = WatchGuard()
    assert guard.dead() == []
    tasks = [watch(kind) for kind in WATCHED]
    await asyncio.sleep(0)
    assert guard.dead() == []
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert guard.dead() == [WATCHED[0]]
    tasks.append(watch(WATCHED[0]))
    await asyncio.sleep(0)
    assert guard.dead() == []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_watch_of_one_namespace_is_missed_though_those_of_others_go_on() -> None:
    guard = WatchGuard()
    tasks = [watch("workflows", namespace) for namespace in ("shop", "bank")]
    await asyncio.sleep(0)
    assert guard.dead() == []
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert guard.dead() == ["workflows in namespace shop"]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
