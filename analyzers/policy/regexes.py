"""Regular expressions of RE2, as proxies and ClickHouse take them: texts are quoted, strangers' expressions checked."""

from __future__ import annotations

import re2  # pyright: ignore[reportMissingTypeStubs]

from analyzers.policy.documents import Value

MAX_BYTES = 16 << 10
"""Of one expression; whatever is longer is refused."""
_MAX_MEMORY = 1 << 20
_QUOTED = {
    letter: "\\x00" if letter == "\0" else f"\\{letter}"
    for letter in map(chr, range(128))
    if not (letter.isalnum() or letter == "_")
}


def quoted(text: str) -> str:
    """A text as an expression that matches it and nothing else."""
    return "".join(_QUOTED.get(letter, letter) for letter in text)


def checked(value: Value) -> str:
    """The expression that stands here.

    Raises:
        BadPolicy: RE2 would not take it, or it is too large.
    """
    text = value.text()
    if len(text.encode()) > MAX_BYTES:
        value.refuse(f"a regular expression of {len(text.encode()):,} bytes, expected at most {MAX_BYTES:,}")
    if why := fault(text):
        value.refuse(f"{value.shown}: {why}, expected a regular expression of RE2")
    return text


def fault(expression: str) -> str:
    """Why RE2 does not take an expression; empty where it does."""
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        re2.compile(expression, options)
    except re2.error as error:
        told = error.args[0] if error.args else ""
        return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    return ""
