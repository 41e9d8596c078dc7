"""Benchmarks: one command each (`python -m benchmarks.NAME`), tables in Markdown on stdout."""
