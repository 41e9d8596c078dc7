"""Inserts of an embedded store that a kill tore apart: their tokens are forgotten, so that the repeated insert counts.

ClickHouse notes an insert's token in a table's deduplication log before the part with its rows gets its name (in chdb
4.4.0 60 microseconds before, says `strace`). A process that is killed in between leaves a token without rows: the part
is thrown away at the next start, and the insert, when it is repeated, dropped as one that was seen. A server's logs
cannot be reached from here: its kill can lose a batch in that moment.
Source: ClickHouse, src/Storages/MergeTree/MergeTreeSink.cpp and MergeTreeDeduplicationLog.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TAIL = 64
"""Last tokens of a table that are looked at: those that were under way when the process ended are among them."""
_ADDED, _DROPPED = "1", "2"
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?")
"""PARTITION_FIRST_LAST_LEVEL[_MUTATION]: blocks `first..last` of a partition."""


def forget_torn_inserts(store: Path) -> int:
    """Remove tokens whose parts are not there from the logs of the store in directory `store`, which nobody has open.

    Returns:
        How many were removed.
    """
    return sum(_forget(log) for log in _logs(store))


def _logs(store: Path) -> Iterator[Path]:
    """The newest deduplication log of each table."""
    for directory in (store / "store").glob("*/*/deduplication_logs"):
        found = [path for path in directory.iterdir() if re.fullmatch(r"deduplication_log_\d+\.txt", path.name)]
        if found:
            yield max(found, key=lambda path: int(path.stem.rpartition("_")[2]))


def _forget(log: Path) -> int:
    lines = log.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    tail = [(number, *_fields(lines[number])) for number in range(max(0, len(lines) - TAIL), len(lines))]
    dropped = {token for _, kind, _, token in tail if kind == _DROPPED}
    parts = _parts(log.parent.parent) if tail else []
    torn = {
        number
        for number, kind, part, token in tail
        if kind == _ADDED and token not in dropped and not _is_there(part, parts)
    }
    if lines and not lines[-1].endswith("\n"):
        torn.add(len(lines) - 1)  # the note itself was torn
    if torn:
        fresh = log.with_suffix(".new")
        kept = "".join(line for number, line in enumerate(lines) if number not in torn)
        fresh.write_text(kept, encoding="utf-8", errors="surrogateescape")
        fresh.replace(log)
    return len(torn)


def _fields(line: str) -> tuple[str, str, str]:
    """What was done, to which part, with which token; empty where a line is none."""
    kind, part, token, *_ = (*line.rstrip("\n").split("\t"), "", "", "")
    return kind, part, token


def _parts(table: Path) -> list[tuple[str, int, int]]:
    """Partition, first and last block of each part in a table's directory."""
    found = [_PART.fullmatch(path.name) for path in table.iterdir()]
    return [(match[1], int(match[2]), int(match[3])) for match in found if match]


def _is_there(part: str, parts: list[tuple[str, int, int]]) -> bool:
    """Whether a part is there, or one that it was merged into."""
    match = _PART.fullmatch(part)
    if match is None:
        return True  # not a name that we know how to read: leave it alone
    partition, first, last = match[1], int(match[2]), int(match[3])
    return any(name == partition and low <= first and last <= high for name, low, high in parts)
