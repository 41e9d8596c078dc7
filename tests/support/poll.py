"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll(condition: Callable[[], T], what: str, limit_s: float = 60.0, every_s: float = 0.02) -> T:
    """Call `condition` until it is true and return its value; TimeoutError naming `what` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not there after {limit_s:.0f} s")
        threading.Event().wait(every_s)
    return value
