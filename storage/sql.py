"""The SQL files of this project: `storage/sql/<room>/<name>.sql`, one statement each.

A file opens with a `--` comment that says why the statement is there, its inputs (type, unit) and output columns. Only
`{name:Type}` holes are filled in, by `storage.bind`; nothing is ever pasted into the text.

    statement = load("dependencies/edges")
    engine.query(statement.text, {"since": since, "until": until})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.bind import bind, holes
from storage.errors import BadStatement

ROOT = Path(__file__).parent / "sql"
_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its name, text, header comment and holes (name → ClickHouse type)."""

    name: str
    text: str
    doc: str
    parameters: Mapping[str, str]

    def bind(self, parameters: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Texts for all holes; see `storage.bind.bind`."""
        return bind(self.text, parameters)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=512)
def load(name: str) -> Statement:
    """The statement of `storage/sql/{name}.sql`.

    Raises:
        BadStatement: there is no such file, it has no header comment, or it ends with a semicolon.
    """
    if not _NAME.fullmatch(name):
        raise BadStatement(f"{name!r} is no statement's name: expected room/name in lower case")
    path = ROOT / f"{name}.sql"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadStatement(f"there is no statement {name}: storage/sql/{name}.sql is missing") from None
    return parse(name, text)


def parse(name: str, text: str) -> Statement:
    """Read one statement from the text of its file.

    Raises:
        BadStatement: see `load`.
    """
    doc = header(text)
    if not doc:
        raise BadStatement(f"{name}.sql: the first line must be a comment that says what the statement is for")
    if text.rstrip().endswith(";"):
        raise BadStatement(f"{name}.sql: one statement without a closing semicolon expected")
    return Statement(name, text.strip(), doc, holes(text))


def header(text: str) -> str:
    """The comment lines at the head of a file, without their dashes."""
    lines = list[str]()
    for line in text.lstrip().splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.lstrip("-").strip())
    return "\n".join(lines)


def names() -> Iterator[str]:
    """The names of all statements, sorted."""
    for path in sorted(ROOT.rglob("*.sql")):
        yield path.relative_to(ROOT).with_suffix("").as_posix()
