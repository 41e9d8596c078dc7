"""Latency and error regressions: found on the rollups, judged on whole distributions, blamed on one hop."""
