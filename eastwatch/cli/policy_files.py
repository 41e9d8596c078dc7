"""FILES of the policy commands: files, directories, and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from analyzers.policy.documents import MAX_BYTES
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet, read_set

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_FILES = 100_000
FILES = (
    "policies as YAML or JSON, such as kubectl get authorizationpolicies -A -o yaml or consul config read "
    "print; directories are searched for .yaml, .yml and .json; - is standard input"
)
FilesArgument = Annotated[list[str], typer.Argument(metavar="FILES...|-", help=FILES)]
NamespaceOption = Annotated[
    str, typer.Option("--default-namespace", metavar="N", help="namespace of documents that name none")
]


def read_policies(names: Sequence[str], namespace: str) -> PolicySet:
    """The policies of files and directories (all `.yaml`, `.yml` and `.json` below them); `-` is standard input.

    Raises:
        BadPolicy: a file that cannot be read, or what stands in it is refused.
    """
    return read_set(read_contents(names), namespace)


def read_contents(names: Sequence[str]) -> Mapping[str, bytes]:
    """What stands in the same files, by their names.

    Raises:
        BadPolicy: a file that cannot be read, or more in all of them than can be held.
    """
    found: dict[str, bytes] = {}
    left = MAX_BYTES
    for name in _files(names):
        found[name] = _content(name, left + 1)
        left -= len(found[name])
        if left < 0:
            raise BadPolicy(f"{name}: more than {MAX_BYTES >> 20} MiB with the files before it, expected less")
    return found


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


def _content(name: str, most: int) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(most)
    try:
        with Path(name).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise BadPolicy(f"{name}: {error.strerror}, expected a readable file of policies") from None
