"""Composition root: command line, settings, self-telemetry, demo world."""
