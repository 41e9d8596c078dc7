"""Composition root: command line, settings, self-telemetry, demo world."""

from eastwatch.memory import keep_memory

# Before anything imports pyarrow or the engine: they read these settings once.
keep_memory()
