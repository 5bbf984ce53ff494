"""Many objects, of which some can't be read; and runs that are replaced while somebody steers them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from kubernaut.cli import controlling, objects, work
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.knowledge import all_patterns
from kubernaut.cli.place import Place
from kubernaut.core.errors import Conflict
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from unit.cli.samples import REPAIRED, RESOLVED, run


def manifest(name: str, status: dict[str, Any] | None = None, uid: str = "a") -> Manifest:
    made = run(status).wire()
    return {**made, "metadata": {**made["metadata"], "name": name, "uid": uid, "resourceVersion": uid + "1"}}


def later(name: str, phase: str = "Dreaming") -> Manifest:
    """Return a run whose phase only a later version knows."""
    made = manifest(name, REPAIRED)
    made["status"]["phase"] = phase
    return made


class Holds:
    """A cluster of a few runs; each read gives the next state of the one that is asked for."""

    def __init__(self, *found: Manifest) -> None:
        self._found = list(found)
        self.patched: list[Manifest] = []

    async def list(self, api_version: str, kind: str, namespace: str, **_: str) -> list[Manifest]:
        return self._found

    async def get(self, ref: ObjectRef) -> Manifest:
        return self._found.pop(0) if len(self._found) > 1 else self._found[0]

    async def patch(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        if resource_version == "a1":
            raise Conflict("it changed")
        self.patched.append(body)
        return body

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        for one in self._found:
            yield one

    @property
    def place(self) -> Place:
        return Place(cast(Any, None), cast(Any, self), "shop")


RUNS = (manifest("first", REPAIRED), later("second"), manifest("third"), later("fourth"))


async def test_a_run_of_a_later_version_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert await work.listed(Holds(*RUNS).place, work.Which(), Format.TEXT) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["third", "first"]
    assert "shop/second can't be read by this version of kubernaut: status.phase" in err
    assert "shop/fourth" in err


async def test_many_that_can_not_be_read_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found = [later(f"odd-{number}") for number in range(9)]
    assert await work.listed(Holds(*found).place, work.Which(), Format.TEXT) == 0
    err = capsys.readouterr().err
    assert err.count("can't be read") == 3
    assert "6 more are left out" in err


@pytest.mark.parametrize(
    ("which", "names"),
    [
        (work.Which(), ["third", "second", "fourth", "first"]),
        (work.Which(live=True), ["third", "second", "fourth"]),
        (work.Which(verdict="Remediated"), ["second", "fourth", "first"]),
        (work.Which(phase="Pending"), ["third"]),
    ],
)
async def test_programs_get_every_run_whether_it_can_be_read_or_not(
    which: work.Which, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await work.listed(Holds(*RUNS).place, which, Format.JSON) == 0
    out, err = capsys.readouterr()
    assert [item["metadata"]["name"] for item in json.loads(out)["items"]] == names
    assert err == ""


async def test_a_pattern_of_a_later_version_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    fine = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "DiscoveredPattern",
        "metadata": {"name": "fine"},
        "spec": {},
    }
    odd = {**fine, "metadata": {"name": "odd"}, "status": {"support": "many"}}
    assert await all_patterns(Holds(fine, odd).place, False, Format.TEXT) == 0
    out, err = capsys.readouterr()
    assert "fine" in out
    assert "odd can't be read" in err


async def test_what_is_asked_of_a_run_is_not_asked_of_another_of_its_name() -> None:
    cluster = Holds(manifest("it", {**RESOLVED, "phase": "Running"}), manifest("it", uid="b"))
    with pytest.raises(CliError, match="another one has its name; nothing was written"):
        await controlling.change(cast(Cluster, cluster), "shop", "it", controlling.cancel)
    assert cluster.patched == []


async def test_what_was_decided_by_one_run_is_not_written_to_another_of_its_name() -> None:
    cluster = Holds(manifest("it", uid="b"))
    with pytest.raises(CliError, match="nothing was written"):
        await controlling.change(cast(Cluster, cluster), "shop", "it", controlling.pause, "a")
    assert cluster.patched == []


async def test_a_run_of_the_same_name_is_not_followed_in_its_stead() -> None:
    cluster = Holds(manifest("it", {**RESOLVED, "phase": "Running"}), manifest("it", REPAIRED, uid="b"))
    states = objects.follow(cast(Cluster, cluster), "shop", "it")
    assert (await anext(states)).metadata.uid == "a"
    with pytest.raises(CliError, match="was deleted") as caught:
        await anext(states)
    assert caught.value.code is Exit.NOT_FOUND
    assert "kubernaut why a" in caught.value.fix
