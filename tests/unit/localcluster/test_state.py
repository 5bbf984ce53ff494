"""Where clusters are kept, who may work on them, and when an old one is what is asked for."""

import dataclasses
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from localcluster import cluster as cluster_module
from localcluster import paths
from localcluster.cluster import Cluster
from localcluster.errors import ClusterError
from localcluster.paths import ClusterPaths, locked
from localcluster.process import ProcessId
from localcluster.progress import Progress
from localcluster.providers.given import given_kubeconfig
from localcluster.request import Request
from localcluster.state import Component, SecondNode, State


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBERNAUT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("KUBERNAUT_KUBECONFIG", raising=False)
    return tmp_path / "state"


def example(name: str = "one") -> State:
    who = ProcessId(12, 34, "boot")
    return State(
        name,
        "modules",
        "/k",
        "/kubectl",
        nodes="kwok",
        block=3,
        holder=who,
        second_node=SecondNode(f"{name}-node-2", who),
        components={"etcd": Component(["etcd", "--x"], who), "kwok": Component(["kwok"])},
    )


def test_cache_and_state_follow_the_environment() -> None:
    assert paths.cache_root({"KUBERNAUT_CACHE": "/c"}) == Path("/c")
    assert paths.cache_root({"XDG_CACHE_HOME": "/x"}) == Path("/x/kubernaut")
    assert paths.cache_root({}) == Path.home() / ".cache" / "kubernaut"
    assert paths.state_root({"KUBERNAUT_STATE": "/s", "XDG_STATE_HOME": "/x"}) == Path("/s")
    assert paths.state_root({}) == Path.home() / ".local" / "state" / "kubernaut"


@pytest.mark.parametrize("name", ["", "Up", "a/b", "..", "-a", "a-", "a" * 31])
def test_names_that_could_not_be_node_names_are_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="not usable"):
        ClusterPaths.of(name)


def test_a_state_is_read_back_as_it_was_written() -> None:
    state, where = example(), ClusterPaths.of("one")
    state.save(where)
    assert State.load(where) == state
    assert paths.cluster_names() == ["one"]
    assert where.state.stat().st_mode & 0o077 == 0


def test_a_state_of_a_newer_version_can_still_be_taken_down() -> None:
    where = ClusterPaths.of("one")
    example().save(where)
    where.state.write_text(where.state.read_text().replace('"why"', '"wherefore"'))
    loaded = State.load(where)
    assert loaded is not None
    assert loaded.components.keys() == {"etcd", "kwok"}


def test_a_damaged_state_says_which_file() -> None:
    where = ClusterPaths.of("one")
    example().save(where)
    where.state.write_text("{")
    with pytest.raises(ClusterError, match=r"state\.json is damaged"):
        State.load(where)


def test_an_unknown_cluster_is_not_found_but_others_are_named() -> None:
    example("two").save(ClusterPaths.of("two"))
    with pytest.raises(ClusterError, match=r"no cluster one \(there is: two\)"):
        Cluster.find("one")


def test_the_lock_is_held_by_one_at_a_time_even_when_its_file_is_removed(tmp_path: Path) -> None:
    file, waiting, order = tmp_path / "lock", threading.Event(), list[str]()

    def notice() -> AbstractContextManager[None]:
        waiting.set()
        return nullcontext()

    def second() -> None:
        with locked(file, waiting=notice):
            order.append("second")
            assert file.exists()

    with locked(file):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
        file.unlink()
    thread.join(10)
    assert order == ["first", "second"]


def test_a_failed_up_leaves_no_state_and_no_lock(own_state: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not exist"):
        Cluster.up("one", kubeconfig=tmp_path / "missing", progress=Progress(quiet=True))
    assert [path for path in own_state.rglob("*") if path.is_file()] == []


def test_a_bare_kubeconfig_variable_is_not_taken_for_a_cluster_to_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/me/production")
    assert given_kubeconfig(Request("one")) is None
    monkeypatch.setenv("KUBERNAUT_KUBECONFIG", "/home/me/trial")
    assert given_kubeconfig(Request("one")) == Path("/home/me/trial")
    assert given_kubeconfig(Request("one", kubeconfig=Path("/flag"))) == Path("/flag")


def test_a_cluster_that_was_given_is_forgotten_when_it_is_not_given_again() -> None:
    state = dataclasses.replace(example(), provider="given", components={})
    state.save(ClusterPaths.of("one"))
    quiet = Progress(quiet=True)
    assert cluster_module._fits(state, Request("one", kubeconfig=Path("/k")), quiet)
    assert not cluster_module._fits(state, Request("one"), quiet)
    assert State.load(ClusterPaths.of("one")) is None


def test_a_running_cluster_is_not_passed_off_as_the_one_that_was_given_or_asked_for() -> None:
    quiet = Progress(quiet=True)
    assert cluster_module._fits(example(), Request("one"), quiet)
    with pytest.raises(ClusterError, match="not the cluster of /elsewhere"):
        cluster_module._fits(example(), Request("one", kubeconfig=Path("/elsewhere")), quiet)
    with pytest.raises(ClusterError, match="has kwok nodes, not real ones"):
        cluster_module._fits(example(), Request("one", nodes="real"), quiet)


def test_the_dead_are_cleared_away_and_started_anew() -> None:
    state = example()
    state.block = None
    state.save(ClusterPaths.of("one"))
    assert cluster_module._revive(state, Progress(quiet=True)) is False
    assert paths.cluster_names() == []
