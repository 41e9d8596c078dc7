"""Who may call whom: policies read as their controllers read them, and judged over recorded calls."""
