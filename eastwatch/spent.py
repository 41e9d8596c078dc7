"""Time that a part of the work took: on the clock, and of the CPUs."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class Spent:
    """Adds up what the blocks under `measured` took. One thread at a time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        """Of the whole process: what goes on beside the block counts too."""

    @contextmanager
    def measured(self) -> Generator[None]:
        """Measure a block."""
        began, cpu_began = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began
            self.cpu_seconds += time.process_time() - cpu_began
