"""What all tests share that see hours go by in no time."""

from __future__ import annotations

from typing import Final

#: turns of the loop in which nothing happens before looptime moves the clock. By default it turns 42 times: that was
#: nine tenths of the work of such a test.
IDLE_TURNS: Final = 2
