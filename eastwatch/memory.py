"""How long memory that was given back stays with the process.

By default Arrow's and the engine's allocators hand freed memory back to the system within seconds, and every batch
takes it anew, page by page: a good part of the time that an ingester spends in the kernel.
`python -m benchmarks.page_faults` counts the pages.
"""

from __future__ import annotations

import os

KEPT_MS = 10_000
"""A batch follows the one before well within this time; a process that rests has given the memory back after it."""

_SETTINGS = {
    # Arrow's allocator is mimalloc, the embedded engine's jemalloc, whose build reads this name.
    "MIMALLOC_PURGE_DELAY": str(KEPT_MS),
    "JE_MALLOC_CONF": f"dirty_decay_ms:{KEPT_MS},muzzy_decay_ms:{KEPT_MS}",
}


def keep_memory() -> None:
    """Set the allocators' settings, unless the environment has them: before pyarrow or chdb is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
