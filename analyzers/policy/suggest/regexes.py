"""Paths as regular expressions of RE2, for engines that match all of a path with them."""

from __future__ import annotations

from analyzers.policy.regexes import quoted
from analyzers.policy.suggest.paths import Path

_ANY_SEGMENT = "[^/]+"


def regex(path: Path) -> str:
    """What matches these paths and no others."""
    parts = [_ANY_SEGMENT if one is None else quoted(one) for one in path.segments]
    return "/" + "/".join([*parts, *(["(?s:.*)"] if path.rest else [])])
