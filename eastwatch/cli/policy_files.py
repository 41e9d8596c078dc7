"""FILES of the policy commands: files, directories, and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet, read_set

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 100_000


def read_policies(names: Sequence[str], namespace: str) -> PolicySet:
    """The policies of files and directories (all `.yaml`, `.yml` and `.json` below them); `-` is standard input.

    Raises:
        BadPolicy: a file that cannot be read, or what stands in it is refused.
    """
    return read_set({name: _content(name) for name in _files(names)}, namespace)


def _files(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name == "-" or not Path(name).is_dir():
            yield name
            continue
        found = sorted(str(path) for path in Path(name).rglob("*") if path.suffix in SUFFIXES and path.is_file())
        if not found:
            raise BadPolicy(f"{name}: no policy files in it, expected some named .yaml, .yml or .json")
        if len(found) > MAX_FILES:
            raise BadPolicy(f"{name}: {len(found):,} files, expected at most {MAX_FILES:,}")
        yield from found


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadPolicy(f"{name}: {error.strerror}, expected a readable file of policies") from None
