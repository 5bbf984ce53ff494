"""What Go is given to build with."""

import pytest

from localcluster.toolchain import compiler_memory

GIB = 1024 * 1024


def meminfo(available: int) -> str:
    return f"MemTotal:       99999999 kB\nMemFree:          1000 kB\nMemAvailable:   {available} kB\n"


def test_compilers_may_use_half_of_the_memory_between_them() -> None:
    assert compiler_memory(meminfo(16 * GIB), 2, {}) == {"GOGC": "off", "GOMEMLIMIT": "4096MiB"}


@pytest.mark.parametrize(("available", "processors"), [(3 * GIB, 2), (16 * GIB, 16)])
def test_where_memory_is_short_the_collector_stays_on(available: int, processors: int) -> None:
    assert compiler_memory(meminfo(available), processors, {}) == {}


@pytest.mark.parametrize("name", ["GOGC", "GOMEMLIMIT"])
def test_the_user_s_own_settings_win(name: str) -> None:
    assert compiler_memory(meminfo(64 * GIB), 2, {name: "50"}) == {}


def test_an_old_kernel_that_does_not_say_gets_the_defaults() -> None:
    assert compiler_memory("MemTotal: 99999999 kB\n", 2, {}) == {}
