"""The machine that is measured on: how busy it is, and what its processes use."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CALM_LOAD = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def await_calm(say: Callable[[str], None], patience_seconds: float) -> float:
    """Wait until hardly anybody else uses the machine, or patience ends; return the load then."""
    deadline = time.monotonic() + patience_seconds
    told = False
    while (now := load()) >= CALM_LOAD and time.monotonic() < deadline:
        if not told:
            say(f"the load is {now}; waiting up to {patience_seconds:.0f} s until it is below {CALM_LOAD}")
            told = True
        time.sleep(5)
    return now


def machine() -> dict[str, Any]:
    """Return what kind of machine this is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used so far; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> dict[str, float]:
    """Return resident memory of a process now and at its highest, in MiB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "resident_mib": round(int(lines["VmRSS"].split()[0]) / 1024, 1),
        "peak_resident_mib": round(int(lines["VmHWM"].split()[0]) / 1024, 1),
    }


class CpuMeter:
    """Tells what processes have used since it was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def spent(self) -> dict[str, float]:
        """Return processor seconds by process name."""
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
