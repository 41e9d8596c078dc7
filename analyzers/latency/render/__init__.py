"""Regressions as people read them."""
