"""How long memory that was given back stays with the process.

By default Arrow's and the engine's allocators hand freed memory back to the system within seconds, and every batch
takes it anew, page by page: a good part of the time that an ingester spends in the kernel.
`python -m benchmarks.page_faults` counts the pages.
"""

from __future__ import annotations

import ctypes
import os

KEPT_MS = 10_000
"""A batch follows the one before well within this time; a process that rests has given the memory back after it."""

_SETTINGS = {
    # Arrow's allocator is mimalloc, the embedded engine's jemalloc, whose build reads this name.
    "MIMALLOC_PURGE_DELAY": str(KEPT_MS),
    "JE_MALLOC_CONF": f"dirty_decay_ms:{KEPT_MS},muzzy_decay_ms:{KEPT_MS}",
}


# glibc's own, which NumPy, ptars and the Kafka client use: parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""Blocks above it are always mapped afresh."""
_KEPT_BYTES = 256 << 20


def keep_memory() -> None:
    """Set the allocators' settings, unless the environment has them: before pyarrow or chdb is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if _has_glibc() and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_TOP_PAD, 1 << 20)


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False
